//! TLS in front of a fake upstream, with the certificate of an authority that nobody else knows.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// One of this name; two of the same name could be taken for each other.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A file with its certificate, and with those of others.
    pub fn file_with<'a>(&'a self, others: impl IntoIterator<Item = &'a Self>) -> NamedTempFile {
        let file = NamedTempFile::new().expect("a file");
        let all: String = others.into_iter().chain([self]).map(|authority| authority.pem.as_str()).collect();
        std::fs::write(file.path(), all).expect("a file that can be written");
        file
    }

    /// What makes TLS of a connection to a server that is `name`, and speaks these protocols.
    pub fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions of TLS").with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a key that fits");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Accepts TLS for a name and passes everything on.
pub struct TlsFront {
    address: SocketAddr,
    name: &'static str,
    listening: JoinHandle<()>,
}

impl TlsFront {
    /// In front of a server, which is `name` according to this authority.
    pub async fn of(server: SocketAddr, name: &'static str, authority: &Authority) -> Self {
        let acceptor = authority.acceptor(name, &[]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // A client that does not like the certificate goes.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.expect("a server");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, name, listening }
    }

    /// `https://NAME:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("https://{}:{}/v1", self.name, self.address.port())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
