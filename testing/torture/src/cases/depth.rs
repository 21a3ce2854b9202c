//! The deepest calls that ordinary crates make, on a stack of the default size.
//!
//! Debug builds have the larger frames, and the larger default.

#![forbid(unsafe_code)]

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::drive::{many, park, scaled};

/// Self-signed for `localhost`, until 2125; made for these tests, the key is no secret.
const CERTIFICATE: &[u8] = include_bytes!("../../certificate/localhost.der");
const KEY: &[u8] = include_bytes!("../../certificate/localhost.key.der");

fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(CERTIFICATE))
        .expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

fn server_config() -> Arc<ServerConfig> {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivatePkcs8KeyDer::from(KEY).into(),
        );
    Arc::new(config.expect("the key belongs to the certificate"))
}

pub(super) fn a_handshake_fits_on_the_stack() {
    many(scaled(50), |_| {
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(client_config(), name).unwrap();
        let mut server = ServerConnection::new(server_config()).unwrap();
        park();
        let mut bytes = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            bytes.clear();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &*bytes).unwrap();
            server.process_new_packets().unwrap();
            park();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &*bytes).unwrap();
            client.process_new_packets().unwrap();
            park();
        }
        assert_eq!(
            client.negotiated_cipher_suite(),
            server.negotiated_cipher_suite()
        );
        assert!(client.negotiated_cipher_suite().is_some());
    });
}

pub(super) fn a_large_regex_compiles_on_the_stack() {
    many(scaled(50), |_| {
        // Each level takes the compiler 16 KiB in debug builds: 40 levels, and large classes repeated.
        let nested = format!("{}a{}", "(?:".repeat(40), ")*".repeat(40));
        assert!(regex::Regex::new(&nested).unwrap().is_match("aaa"));
        park();
        let large = regex::Regex::new(r"(\p{L}{1,20}\s+){1,10}[\p{Greek}&&\p{Lu}]$").unwrap();
        assert!(large.is_match("one two three Ω"));
        assert!(regex::Regex::new(&"(".repeat(1_000)).is_err());
    });
}

pub(super) fn json_of_depth_128_fits_on_the_stack() {
    many(scaled(50), |_| {
        // The parser's limit is 128 levels, of which the innermost is the value.
        for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
            let text = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let value: serde_json::Value = serde_json::from_str(&text(127)).unwrap();
            park();
            assert_eq!(value.to_string(), text(127));
            assert_eq!(value.clone(), value);
            let error = serde_json::from_str::<serde_json::Value>(&text(128)).unwrap_err();
            assert!(error.to_string().contains("recursion limit"), "{error}");
        }
    });
}
