//! Connections that tell when they are given up.
//!
//! Where a body in chunks breaks off, awc says what it says at the end of a whole one. The difference
//! is in what becomes of the connection: at the last chunk awc takes it out of the body, to use it
//! again or to close it; one that has ended is left in there, and goes with the body. What is read
//! from the socket does not tell: under TLS a connection ends with a record of its own, which is more
//! bytes to the socket.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::vanished::Unanswered;

thread_local! {
    static HAS_GONE: Cell<bool> = const { Cell::new(false) };
}

/// Whether dropping this takes a connection of this thread along.
pub(super) fn takes_a_connection_along<T>(dropped: T) -> bool {
    HAS_GONE.set(false);
    drop(dropped);
    HAS_GONE.take()
}

/// A TCP connection to an upstream.
#[derive(Debug)]
pub(super) struct Noting {
    stream: TcpStream,
    unanswered: Unanswered,
}

impl Noting {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, unanswered: Unanswered::default() }
    }

    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.unanswered.sent(bytes, &self.stream);
        }
        written
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        // A thread that ends asks no more.
        let _ = HAS_GONE.try_with(|has_gone| has_gone.set(true));
    }
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let Self { stream, unanswered } = &mut *self;
            unanswered.answered(stream);
        }
        read
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl ActixStream for Noting {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::thread::JoinHandle;
    use std::time::Duration;

    use actix_tls::connect::{Connector, Resolver};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{WebPkiSupportedAlgorithms, ring as crypto, verify_tls13_signature_with_raw_key};
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
    use rustls::server::AlwaysResolvesServerRawPublicKeys;
    use rustls::sign::CertifiedKey;
    use rustls::version::TLS13;
    use rustls::{
        ClientConfig, DigitallySignedStruct, Error, ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
    };

    use crate::canon::{Failure, FailureKind};
    use crate::upstream::body::Body;
    use crate::upstream::client::{KEEP_ALIVE, build, install_crypto};

    /// Takes any server for the right one: what is tested is how a connection ends.
    #[derive(Debug)]
    struct Trusting(WebPkiSupportedAlgorithms);

    impl ServerCertVerifier for Trusting {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.3 only".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            key: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature_with_raw_key(
                message,
                &SubjectPublicKeyInfoDer::from(key.as_ref()),
                signature,
                &self.0,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_schemes()
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }

    fn client_config() -> Arc<ClientConfig> {
        let verifier = Trusting(crypto::default_provider().signature_verification_algorithms);
        let config = ClientConfig::builder_with_protocol_versions(&[&TLS13]);
        Arc::new(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }

    /// A server with a key of its own, which needs no certificate.
    fn server_config() -> Arc<ServerConfig> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.as_ref().to_vec());
        let key = crypto::default_provider().key_provider.load_private_key(key.into()).unwrap();
        let public = CertificateDer::from(key.public_key().unwrap().as_ref().to_vec());
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::new(CertifiedKey::new(vec![public], key)));
        Arc::new(ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(resolver)))
    }

    /// Answers one request with each piece in a record of its own, says goodbye in TLS, and closes.
    fn answering(pieces: &'static [&'static str], is_secure: bool) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            if !is_secure {
                BufReader::new(&mut stream).read_line(&mut line).unwrap();
                pieces.iter().for_each(|piece| stream.write_all(piece.as_bytes()).unwrap());
                return;
            }
            let mut stream = StreamOwned::new(ServerConnection::new(server_config()).unwrap(), stream);
            BufReader::new(&mut stream).read_line(&mut line).unwrap();
            pieces.iter().for_each(|piece| stream.write_all(piece.as_bytes()).unwrap());
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        });
        (address, server)
    }

    fn read(pieces: &'static [&'static str], is_secure: bool) -> Result<String, Failure> {
        install_crypto();
        let (address, server) = answering(pieces, is_secure);
        let scheme = if is_secure { "https" } else { "http" };
        let body = actix_rt::System::new().block_on(async {
            let client = build(
                Connector::new(Resolver::default()).service(),
                client_config(),
                Duration::from_secs(5),
                KEEP_ALIVE,
            );
            let response = client.get(format!("{scheme}://localhost:{}/", address.port())).send().await.unwrap();
            Body::new(response, Duration::from_secs(5)).collect(1000).await
        });
        server.join().unwrap();
        body.map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const LAST_HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

    #[test]
    fn a_body_that_ends_with_its_connection_is_cut() {
        for is_secure in [false, true] {
            for pieces in [
                &[HEAD, "5\r\nhello\r\n"][..],
                &[HEAD, "5\r\nhel"],
                &[HEAD, "5\r\nhello\r\n", "5"],
                &[HEAD, "5\r\nhello\r\n0\r\n"],
                &[LAST_HEAD, "5\r\nhello\r\n"],
                &[HEAD],
            ] {
                let outcome = read(pieces, is_secure).map_err(|failure| failure.kind);
                assert_eq!(outcome, Err(FailureKind::CutAnswer), "{pieces:?}, TLS: {is_secure}");
            }
        }
    }

    #[test]
    fn a_body_with_its_last_chunk_is_whole_whatever_becomes_of_the_connection() {
        for is_secure in [false, true] {
            for pieces in [
                &[HEAD, "5\r\nhello\r\n0\r\n\r\n"][..],
                &[HEAD, "5\r\nhello\r\n", "0\r\n", "\r\n"],
                &[LAST_HEAD, "5\r\nhello\r\n0\r\n\r\n"],
                &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
                &["HTTP/1.0 200 OK\r\n\r\nhello"],
            ] {
                assert_eq!(read(pieces, is_secure).as_deref(), Ok("hello"), "{pieces:?}, TLS: {is_secure}");
            }
        }
    }
}
