//! Epmd: registering with it, and asking it where a node is.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::node::inner::{Node, Options};
use crate::wire::epmd::{AliveResponse, PortResponse, Registration, Request};

/// The delay before a lost registration with epmd is made again.
const AGAIN: Duration = Duration::from_secs(2);

/// Asks the epmd of a machine for the port of a node, by its name without the host.
pub(super) async fn ask(host: &str, port: u16, name: &str) -> io::Result<PortResponse> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut output = BytesMut::new();
    Request::Port(name.into()).write(&mut output);
    stream.write_all(&output).await?;
    let mut input = BytesMut::new();
    loop {
        match PortResponse::read(&input) {
            Ok(Some(response)) => return Ok(response),
            Ok(None) if stream.read_buf(&mut input).await? > 0 => {}
            _ => return Err(io::Error::other("no answer that makes sense")),
        }
    }
}

/// Registers with epmd. Returns the connection that keeps the registration, and the creation.
pub(in crate::node) async fn register(options: &Options, name: &str, port: u16) -> io::Result<(TcpStream, u32)> {
    let mut stream = TcpStream::connect((options.epmd_address, options.epmd_port)).await?;
    let short = name.split_once('@').map_or(name, |(short, _)| short);
    let mut output = BytesMut::new();
    Request::Alive(Registration::new(short, port)).write(&mut output);
    stream.write_all(&output).await?;
    let mut input = BytesMut::new();
    loop {
        match AliveResponse::read(&input) {
            Ok(Some(AliveResponse { result: 0, creation })) => return Ok((stream, creation)),
            Ok(Some(_)) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "the name is taken")),
            Ok(None) if stream.read_buf(&mut input).await? > 0 => {}
            _ => return Err(io::Error::other("epmd gave no answer that makes sense")),
        }
    }
}

/// Keeps the registration with epmd: makes it again whenever it is lost.
pub(in crate::node) async fn keep_registered(node: Node, mut stream: TcpStream) {
    let mut buffer = [0; 16];
    loop {
        // Epmd says nothing more: what ends the read is the end of the connection.
        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
        warn!(node = node.name().as_str(), "the connection to epmd is lost");
        loop {
            sleep(AGAIN).await;
            let again = register(&node.0.options, node.name().as_str(), node.port());
            if let Ok(Ok((again, _))) = timeout(AGAIN * 2, again).await {
                stream = again;
                info!(node = node.name().as_str(), "registered with epmd again");
                break;
            }
        }
    }
}
