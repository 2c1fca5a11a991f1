//! The prevention of overlapping partitions: when one line of the mesh is cut, all nodes drop one
//! of its two ends, so that what remains is fully connected.

use std::collections::{BTreeSet, HashMap};

use crate::node::cx::NodeCx;
use crate::term::{Atom, Term, TermBuilder};

use super::calls::server_of;
use super::server::{Server, WITH_VERSIONS, disconnect};

/// The most losses that are remembered: a peer can make them up.
const REMEMBERED: usize = 4096;

/// Why `global` ends a connection.
const OVERLAP: &str = "global prevents overlapping partitions";

/// The losses of connections that are known.
#[derive(Debug)]
pub(super) struct Losses {
    /// The newest loss of each two nodes: the life of the node that has told of it, and its number.
    seen: HashMap<(Atom, Atom), (Term, i128)>,
    /// Nodes whose connection ends because of another's loss, until it has.
    removing: BTreeSet<Atom>,
    /// This life, which differs from earlier ones of the same creation.
    life: Term,
    next: i64,
}

impl Losses {
    pub(super) fn new(creation: u32) -> Self {
        let mut random = [0; 4];
        // Without randomness the lives of one creation are not told apart.
        let _ = getrandom::fill(&mut random);
        let life = u64::from(u32::from_le_bytes(random) >> 6) << 32 | u64::from(creation);
        Self { seen: HashMap::new(), removing: BTreeSet::new(), life: Term::from(life), next: 0 }
    }

    /// Notes a loss. Returns `false` for one that is not new.
    fn note(&mut self, node: &Atom, lost: &Atom, life: Term, number: i128) -> bool {
        let key = (node.clone(), lost.clone());
        if self.seen.get(&key).is_some_and(|(seen, newest)| *seen == life && number <= *newest) {
            return false;
        }
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&key) {
            // An old loss that is told again does no harm to nodes that are not connected.
            self.seen.clear();
        }
        self.seen.insert(key, (life, number));
        true
    }
}

impl Server {
    /// This node has lost a connection: tells the others, unless it was ended on purpose.
    pub(super) fn lost(&mut self, cx: &NodeCx, node: &Atom) {
        self.forget(cx, node);
        if self.losses.removing.remove(node) {
            return;
        }
        self.losses.next += 1;
        let build = TermBuilder::new().tuple(5).atom("lost_connection").atom(cx.node().name().as_str());
        let build = build.term(&self.losses.life).integer(self.losses.next).atom(node.as_str());
        self.tell_all(cx, &build.finish(), node);
    }

    fn is_known(&self, cx: &NodeCx, node: &Atom) -> bool {
        cx.node().0.global.version(node).is_some() || self.pending.contains_key(node)
    }

    /// Sends a message to all nodes that take part, but for one.
    fn tell_all(&self, cx: &NodeCx, message: &Term, except: &Atom) {
        let mut nodes = cx.node().0.global.known_versions();
        nodes.extend(self.pending.iter().map(|(node, version)| (node.clone(), *version)));
        for (node, version) in nodes {
            if node != *except && version >= WITH_VERSIONS {
                self.tell(cx, &node, message);
            }
        }
    }

    /// Sends a message to the server of a node that is connected.
    fn tell(&self, cx: &NodeCx, node: &Atom, message: &Term) {
        if cx.node().event(|machine| machine.is_up(node)) {
            cx.send_now(&server_of(cx, node), message.clone());
        }
    }

    /// Another node, `node`, has lost its connection to `lost`: passes that on once, and drops the
    /// one that is not this node.
    pub(super) fn others_loss(
        &mut self,
        cx: &NodeCx,
        message: &Term,
        node: &Atom,
        life: Term,
        number: i128,
        lost: &Atom,
    ) {
        if !self.losses.note(node, lost, life, number) {
            return;
        }
        self.tell_all(cx, message, node);
        let dropped = if lost == cx.node().name() { node } else { lost };
        if dropped == cx.node().name() || !self.is_known(cx, dropped) {
            return;
        }
        if self.version(cx, dropped) < WITH_VERSIONS {
            disconnect(cx, dropped, OVERLAP);
        } else {
            let build = TermBuilder::new().tuple(2).atom("remove_connection");
            self.tell(cx, dropped, &build.atom(cx.node().name().as_str()).finish());
        }
        self.drop_node(cx, dropped, "asked to disconnect");
    }

    /// A node asks to be disconnected from.
    pub(super) fn removed(&mut self, cx: &NodeCx, node: &Atom) {
        if self.is_known(cx, node) {
            disconnect(cx, node, OVERLAP);
            self.drop_node(cx, node, "disconnected");
        }
    }

    fn drop_node(&mut self, cx: &NodeCx, node: &Atom, what: &str) {
        cx.node().log(node.as_str(), what, OVERLAP);
        self.losses.removing.insert(node.clone());
        self.forget(cx, node);
    }
}
