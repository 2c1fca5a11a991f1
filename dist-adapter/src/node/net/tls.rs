//! TLS on the distribution port, as Erlang's `inet_tls_dist` speaks it: from the first byte on,
//! with certificates of both sides that one authority has signed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Reader, Writer};

/// The files of a node that speaks TLS, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate of the node, and those between it and the authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The authority that has signed the certificates of all nodes.
    pub authority: PathBuf,
}

/// Both sides of TLS, ready for use.
pub(in crate::node) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

fn read<T>(path: &Path, read: impl FnOnce(&Path) -> Result<T, String>) -> Result<T, String> {
    read(path).map_err(|why| format!("{}: {why}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    read(path, |path| {
        let all = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
        let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        if all.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(all) }
    })
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

impl Tls {
    /// Reads the files.
    pub(in crate::node) fn load(files: &TlsFiles) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authority)? {
            roots.add(authority).map_err(|error| format!("{}: {error}", files.authority.display()))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.certificate)?;
        let key = read(&files.key, |path| PrivateKeyDer::from_pem_file(path).map_err(text))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_client_cert_verifier(verifier.build().map_err(text)?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(text)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(text)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), connector: TlsConnector::from(Arc::new(client)) })
    }

    /// Serves a peer that has connected.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(Reader, Writer)> {
        let (reader, writer) = tokio::io::split(self.acceptor.accept(stream).await?);
        Ok((Box::new(reader), Box::new(writer)))
    }

    /// Connects to a peer, whose certificate has to be for this host.
    pub(super) async fn connect(&self, stream: TcpStream, host: &str) -> io::Result<(Reader, Writer)> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let (reader, writer) = tokio::io::split(self.connector.connect(name, stream).await?);
        Ok((Box::new(reader), Box::new(writer)))
    }
}
