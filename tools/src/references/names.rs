//! The names that a Rust file defines or imports: modules, items, and the members of types.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::index::{BUILT_IN, Index};

/// Collects the names of a file.
pub(super) struct Names<'i> {
    index: &'i mut Index,
    /// The names of the file.
    pub(super) found: BTreeSet<String>,
    /// The type whose members come.
    of: Option<String>,
}

impl<'i> Names<'i> {
    pub(super) fn new(index: &'i mut Index) -> Self {
        Self { index, found: BTreeSet::new(), of: None }
    }

    fn item(&mut self, name: &syn::Ident) {
        self.found.insert(name.to_string());
    }

    fn of_type(&mut self, name: &syn::Ident) {
        self.item(name);
        self.index.types.insert(name.to_string());
        self.of = Some(name.to_string());
    }

    fn member(&mut self, name: &syn::Ident) {
        self.item(name);
        if let Some(of) = &self.of {
            self.index.members.entry(of.clone()).or_default().insert(name.to_string());
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => _ = self.index.in_macros.insert(name.to_string()),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn import(&mut self, tree: &syn::UseTree, is_foreign: bool) {
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, is_foreign),
            syn::UseTree::Name(name) => self.imported(&name.ident, is_foreign),
            syn::UseTree::Rename(name) => {
                self.imported(&name.rename, is_foreign);
                self.index.also.entry(name.rename.to_string()).or_default().insert(name.ident.to_string());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, is_foreign)),
            syn::UseTree::Glob(_) => {}
        }
    }

    fn imported(&mut self, name: &syn::Ident, is_foreign: bool) {
        if is_foreign {
            self.index.foreign.insert(name.to_string());
        } else {
            self.item(name);
        }
    }

    /// Visits what a type contains, whose members belong to it.
    fn inside(&mut self, visit: impl FnOnce(&mut Self)) {
        let outer = self.of.take();
        visit(self);
        self.of = outer;
    }
}

/// Returns the last name of a type's path.
fn last_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        syn::Type::Reference(reference) => last_name(&reference.elem),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.item(&item.ident);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_foreign = match &item.tree {
            syn::UseTree::Path(path) => {
                let first = path.ident.to_string();
                self.index.foreign.contains(&first) || BUILT_IN.contains(&first.as_str())
            }
            _ => false,
        };
        self.import(&item.tree, is_foreign);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.item(&item.sig.ident);
        self.inside(|names| visit::visit_item_fn(names, item));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.item(&item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.item(&item.ident);
        visit::visit_item_static(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.inside(|names| {
            names.of_type(&item.ident);
            visit::visit_item_struct(names, item);
        });
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.inside(|names| {
            names.of_type(&item.ident);
            visit::visit_item_union(names, item);
        });
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.inside(|names| {
            names.of_type(&item.ident);
            visit::visit_item_enum(names, item);
        });
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.member(&variant.ident);
        visit::visit_variant(self, variant);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.member(name);
        }
        visit::visit_field(self, field);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.item(&item.ident);
        self.index.types.insert(item.ident.to_string());
        if let Some(other) = last_name(&item.ty) {
            self.index.also.entry(item.ident.to_string()).or_default().insert(other);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(|names| {
            names.of_type(&item.ident);
            visit::visit_item_trait(names, item);
        });
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        match item {
            syn::TraitItem::Fn(function) => self.member(&function.sig.ident),
            syn::TraitItem::Const(constant) => self.member(&constant.ident),
            syn::TraitItem::Type(of) => self.member(&of.ident),
            _ => {}
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let Some(of) = last_name(&item.self_ty) else { return visit::visit_item_impl(self, item) };
        if let Some((_, path, _)) = &item.trait_
            && let Some(last) = path.segments.last()
        {
            self.index.also.entry(of.clone()).or_default().insert(last.ident.to_string());
        }
        self.found.insert(of.clone());
        self.inside(|names| {
            names.of = Some(of);
            visit::visit_item_impl(names, item);
        });
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        match item {
            syn::ImplItem::Fn(function) => self.member(&function.sig.ident),
            syn::ImplItem::Const(constant) => self.member(&constant.ident),
            syn::ImplItem::Type(of) => self.member(&of.ident),
            _ => {}
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.item(name);
        }
        self.tokens(item.mac.tokens.clone());
    }
}
