use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use ocm_node::Command;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Server;
use crate::api::{limits, listen, serve};
use crate::views::harness::{FEED, Harness};

/// Reads the head of an answer from a socket, then lines.
fn open(address: SocketAddr, request: &str) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    BufReader::new(socket)
}

fn until(reader: &mut BufReader<TcpStream>, wanted: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "ended before {wanted:?}");
        if line.contains(wanted) {
            return line.trim().to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_socket_with_a_live_feed_until_it_stops() {
    let node = Harness::start(1);
    let (space, quiet) = (node.space("one").await, node.space("two").await);
    let server = Server::over(node, Some(space));
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = listen(address).await.unwrap_err().to_string();
    assert!(taken.contains(&address.to_string()) && taken.contains("api.listen"), "{taken}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, server.api.clone(), async move {
        let _ = stopped.await;
    }));

    let token = server.token.clone();
    let ask = move |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
        open(address, &format!("{head}authorization: Bearer {token}\r\n\r\n"))
    };
    let (feed, other) = tokio::task::spawn_blocking(move || {
        let mut ping = open(address, &format!("GET /ping HTTP/1.1\r\nhost: {address}\r\n\r\n"));
        assert_eq!(until(&mut ping, "HTTP"), "HTTP/1.1 200 OK");
        let mut feed = ask("/v1/events");
        until(&mut feed, "text/event-stream");
        until(&mut feed, "\r\n");
        let mut other = ask(&format!("/v1/events?space={quiet}"));
        until(&mut other, "text/event-stream");
        (feed, other)
    })
    .await
    .unwrap();
    let mut feed = feed;
    let place = server.node.views.create(space, json!({"title": "live"})).await.unwrap();
    let change = Command::Sync { space: None };
    server.node.command(change).await;
    let in_quiet = server.node.views.create(quiet, json!({"title": "quiet"})).await.unwrap();
    let mut other = other;
    let (data, first_of_other, feed) = tokio::task::spawn_blocking(move || {
        until(&mut feed, "event: record");
        let mut rest = [String::new(), String::new()];
        for line in &mut rest {
            feed.read_line(line).unwrap();
        }
        rest.sort();
        assert!(rest[1].starts_with("id: "), "{rest:?}");
        (rest[0].clone(), until(&mut other, "data: "), feed)
    })
    .await
    .unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&data["memory"], &data["space"]), (&json!(place.memory), &json!(space)));
    assert_eq!((&data["author"], &data["from"]), (&json!(server.node.did), &json!(null)));
    assert!(data["at"].is_string());
    assert!(first_of_other.contains(&in_quiet.memory.to_string()), "only its space's events");

    // A live feed does not keep the node from stopping.
    let begun = std::time::Instant::now();
    stop.send(()).unwrap();
    let mut feed = feed;
    tokio::task::spawn_blocking(move || feed.read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
    serving.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(limits::STOP_SECONDS + 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_lost_events_is_told() {
    let server = Server::start(1);
    let request = server.request("GET", "/v1/events").body(Body::empty()).unwrap();
    let mut request = request;
    request.extensions_mut().insert(ConnectInfo("127.0.0.1:5".parse::<SocketAddr>().unwrap()));
    let response = server.api.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let space = server.node.space("one").await;
    for n in 0..FEED + 9 {
        server.node.views.create(space, json!({ "n": n })).await.unwrap();
    }
    let mut body = response.into_body().into_data_stream();
    let first = futures::StreamExt::next(&mut body).await.unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.contains("event: lagged") && first.contains("{\"missed\":10}"), "{first}");
}
