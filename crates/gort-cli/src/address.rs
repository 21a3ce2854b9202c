//! Addresses as people write them: `host:port`, and Go's `:port`.

use std::io;
use std::net::SocketAddr;

use crate::Failure;

/// What a listener makes of an address: without a host it listens on every interface, as Go's does.
pub(crate) fn to_listen(text: &str) -> Result<String, Failure> {
    with_host(text, "0.0.0.0")
}

/// What a client makes of an address: without a host it means this machine, as in Go.
pub(crate) fn to_dial(text: &str) -> Result<String, Failure> {
    with_host(text, "127.0.0.1")
}

fn with_host(text: &str, default_host: &str) -> Result<String, Failure> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Failure::Usage(format!(
            "--addr {text}: the port is missing; write HOST:PORT or :PORT"
        )));
    };
    check_port(port).map_err(|why| Failure::Usage(format!("--addr {text}: {why}")))?;
    let host = if host.is_empty() { default_host } else { host };
    Ok(format!("{host}:{port}"))
}

/// Checks what stands after the colon of an address; the error says what is to stand there.
pub(crate) fn check_port(port: &str) -> Result<(), &'static str> {
    match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err("the port must be a number up to 65535"),
    }
}

/// Looks the address up; the goroutine parks meanwhile.
pub(crate) fn resolve(address: &str) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |why: String| {
        Failure::failed(format!(
            "unknown host in {address}: {why}; check its spelling and the network"
        ))
    };
    let found: io::Result<Vec<SocketAddr>> = gort::net::lookup_host(address).map(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unknown("it has no address".into())),
        Ok(found) => Ok(found),
        Err(err) => Err(unknown(err.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_short_form_means_all_interfaces_or_this_machine() {
        assert_eq!(to_listen(":2333").expect("valid"), "0.0.0.0:2333");
        assert_eq!(to_dial(":2333").expect("valid"), "127.0.0.1:2333");
        assert_eq!(to_dial("[::1]:80").expect("valid"), "[::1]:80");
        assert_eq!(to_listen("localhost:0").expect("valid"), "localhost:0");
    }

    #[test]
    fn a_missing_or_absurd_port_is_named() {
        for text in [
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:70000",
            "",
        ] {
            let Err(Failure::Usage(why)) = to_dial(text) else {
                panic!("{text:?} was accepted");
            };
            assert!(why.contains("port"), "{why}");
        }
    }
}
