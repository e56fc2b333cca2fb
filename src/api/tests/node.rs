use std::time::Duration;

use axum::body::Body;
use serde_json::json;

use super::{Server, text};
use crate::views::harness::peer;

#[tokio::test(flavor = "multi_thread")]
async fn the_node_shows_itself() {
    let server = Server::start(1);
    server.post("/v1/spaces", json!({"name": "one"}), 201).await;
    assert_eq!(server.get("/health").await, json!({"status": "ok"}));
    assert_eq!(
        server.get("/ready").await,
        json!({"ready": true, "store": true, "identity": true, "isolated": false, "peers": 1})
    );
    let status = server.get("/status").await;
    assert_eq!(status["did"], server.node.did.to_string());
    assert_eq!((&status["handle"], &status["version"]), (&json!("alice"), &json!("0.1.0")));
    assert_eq!((&status["spaces"], &status["memories"]), (&json!(1), &json!(0)));
    assert_eq!(text(&status["boot"]).len(), 32);
    assert!(status["uptime_seconds"].as_u64().unwrap() >= 5);
    assert_eq!(status["api"], "http://127.0.0.1:7845");
    for key in [
        "peer_id",
        "started_at",
        "data_dir",
        "listen",
        "default_space",
        "isolated",
        "peers",
        "held",
        "sessions",
        "unrendered",
        "reachability",
        "sources",
        "blocked",
        "network_key",
    ] {
        assert!(status.get(key).is_some(), "{key}");
    }
    let stats = server.get("/stats").await;
    assert_eq!(stats["records"], json!({"authority": 1, "content": 0}));
    assert_eq!(stats["admissions"], json!([{"verdict": "accept", "reason": "none", "count": 1}]));
    assert_eq!(stats["disk"]["store_bytes"], 1000);
    assert!(stats["disk"]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(stats["queues"], json!({"store": 0}));
    let request = server.request("GET", "/metrics").body(Body::empty()).unwrap();
    let (_, headers, body) = server.send(request, "127.0.0.1:5").await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(body.contains("ocm_memories_total 1"));

    let (status, stopped) = server.call("POST", "/v1/stop", None).await;
    assert_eq!((status, stopped), (202, json!({"stopping": true})));
    tokio::time::timeout(Duration::from_secs(5), async {
        while server.node.handle.stop().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let space = json!({"name": "late"});
    let (status, problem) = server.call("POST", "/v1/spaces", Some(space)).await;
    assert_eq!((status, text(&problem["type"])), (503, "urn:ocm:stopping"));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_shown_and_commanded() {
    let server = Server::start(1);
    let peer = peer().to_string();
    let peers = server.get("/peers").await;
    assert_eq!(
        peers,
        json!({"items": [{
            "peer_id": peer, "did": null, "address": "/ip4/192.0.2.9/tcp/8080",
            "path": "direct", "transport": "tcp", "direction": "outbound", "since": "1970-01-01T00:00:01.000Z",
            "rtt_ms": 2.5, "source": "bootstrap", "agent": "ocm/0.1.0", "shared_spaces": [],
        }], "next": null})
    );
    let ping = format!("/v1/peers/{peer}/ping");
    let (_, pong) = server.call("POST", &ping, None).await;
    assert_eq!(pong, json!({"peer_id": peer, "rtt_ms": 1.5}));
    let other = ocm_discovery::PeerId::new(ocm_record::SigningKey::from_seed(&[7; 32]).public());
    let missing = format!("/v1/peers/{other}/ping");
    assert_eq!(server.refused("POST", &missing, None).await, (404, "not-found".into()));
    assert_eq!(server.refused("POST", "/v1/peers/me/ping", None).await.1, "bad-request");
    let (_, blocked) = server.call("POST", &format!("/v1/peers/{peer}/block"), None).await;
    assert_eq!(blocked, json!({"peer_id": peer, "blocked": true}));
    assert_eq!(server.get("/status").await["blocked"], json!([peer]));
    let (_, blocked) = server.call("POST", &format!("/v1/peers/{peer}/unblock"), None).await;
    assert_eq!(blocked["blocked"], false);
    assert_eq!(server.get("/status").await["blocked"], json!([]));
    let address = json!({"address": "/ip4/192.0.2.3/tcp/1"});
    assert_eq!(server.post("/v1/peers/connect", address.clone(), 202).await, address);
    let wrong = Some(json!({"address": "nowhere"}));
    assert_eq!(server.refused("POST", "/v1/peers/connect", wrong).await.1, "bad-request");
}

#[tokio::test(flavor = "multi_thread")]
async fn spaces_members_and_invitations() {
    let (server, guest) = (Server::start(1), Server::start(2));
    let did = server.node.did.to_string();
    let space = server.post("/v1/spaces", json!({"name": "camp", "read": "open"}), 201).await;
    let id = text(&space["id"]).to_owned();
    assert_eq!(
        space,
        json!({
            "id": id, "name": "camp", "policy": {"write": "members", "read": "open"},
            "role": "owner", "owners": [did], "memories": 0,
            "records": {"authority": 1, "content": 0}, "held": 0, "equivocations": 0,
            "default": false,
        })
    );
    assert_eq!(server.get("/v1/spaces").await["items"], json!([space]));
    assert_eq!(server.get(&format!("/v1/spaces/{}", &id[..20])).await, space);
    assert_eq!(server.get(&format!("/v1/spaces/{id}/parity")).await["items"], json!([]));
    assert_eq!(server.get(&format!("/v1/sync?space={id}")).await["items"], json!([]));
    assert_eq!(server.call("POST", "/v1/sync", None).await, (202, json!({"sessions": 0})));
    assert_eq!(server.get("/v1/refused").await["items"], json!([]));

    let invitation = server.get(&format!("/v1/spaces/{id}/invitation")).await;
    let own = text(&server.get("/status").await["peer_id"]).to_owned();
    assert_eq!(invitation["addresses"], json!([format!("/ip4/192.0.2.7/tcp/8080/p2p/{own}")]));
    let word = json!({"invitation": invitation["invitation"]});
    let joined = guest.post("/v1/spaces/join", word, 200).await;
    assert_eq!(joined, json!({"id": id, "addresses": invitation["addresses"], "name": "camp"}));
    // What begins a space that everyone may read is in the invitation.
    let begun = guest.get(&format!("/v1/spaces/{id}")).await;
    assert_eq!(
        (&begun["name"], &begun["policy"], &begun["role"]),
        (&json!("camp"), &space["policy"], &json!(null))
    );
    let content = json!({"space": id, "content": {"title": "x"}});
    let closed = server.post("/v1/spaces", json!({"name": "council"}), 201).await;
    let path = format!("/v1/spaces/{}/invitation", text(&closed["id"]));
    let word = json!({"invitation": server.get(&path).await["invitation"]});
    guest.post("/v1/spaces/join", word, 200).await;
    let empty = guest.get(&format!("/v1/spaces/{}", text(&closed["id"]))).await;
    assert_eq!(
        (&empty["name"], &empty["policy"], &empty["role"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!(guest.refused("GET", &path, None).await, (409, "empty-space".into()));
    let early = json!({"space": closed["id"], "content": {"title": "x"}});
    let refused = guest.refused("POST", "/v1/memories", Some(early)).await;
    assert_eq!(refused, (409, "empty-space".into()));
    let wrong = Some(json!({"invitation": "ocm1zzz"}));
    assert_eq!(guest.refused("POST", "/v1/spaces/join", wrong).await.1, "bad-request");

    guest.node.hear(&server.node).await;
    let refused = guest.refused("POST", "/v1/memories", Some(content.clone())).await;
    assert_eq!(refused, (403, "not-permitted".into()));
    let grants = format!("/v1/spaces/{id}/grants");
    let to = guest.node.did.to_string();
    let grant = json!({"to": to, "role": "writer", "expires": "2999-01-01T00:00:00Z",
                       "kinds": ["change", 64], "key": to});
    let granted = server.post(&grants, grant, 201).await;
    assert_eq!(
        (&granted["space"], &granted["role"], &granted["to"]),
        (&json!(id), &json!("writer"), &json!(to))
    );
    let members = server.get(&format!("/v1/spaces/{id}/members")).await;
    assert_eq!(
        members["items"],
        json!([
            {"did": did, "role": "owner", "by": id, "granter": did, "expires": null},
            {"did": to, "role": "writer", "by": granted["id"], "granter": did,
             "expires": "2999-01-01T00:00:00.000Z"},
        ])
    );
    for (field, wrong) in [
        ("to", json!("me")),
        ("role", json!("king")),
        ("expires", json!("soon")),
        ("kinds", json!(["unknown"])),
        ("kinds", json!(vec![64; 33])),
        ("key", json!("00")),
    ] {
        let mut grant = json!({"to": to, "role": "writer"});
        grant[field] = wrong;
        assert_eq!(server.refused("POST", &grants, Some(grant)).await.1, "bad-request", "{field}");
    }
    guest.node.hear(&server.node).await;
    let memory = guest.post("/v1/memories", content, 201).await;
    assert_eq!((&memory["author"], &memory["verified"]), (&json!(to), &json!(true)));
    assert_eq!(guest.get(&format!("/v1/spaces/{id}")).await["role"], "writer");
}
