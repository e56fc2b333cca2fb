//! Vectors of requests and responses.

use ocm_record::{Set, SigningKey, SpaceId, to_canonical};
use ocm_sync::{
    Hello, MessageError, Page, Parity, PushVerdict, Refusal, Request, Response, SetDigest, Span,
    Statement, Terms,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::vectors::{NOW, apart, bytes, golden, hex, list_of, named, peer, shown, tampered, text};

fn hello() -> Hello {
    Hello {
        version: 1,
        agent: "ocm/0.1.0".into(),
        nonce: [7; 32],
        certificate: ByteBuf::from(vec![1, 2, 3]),
        kinds: vec![1, 2, 4],
    }
}

pub(crate) fn parity() -> Parity {
    let set = |count, byte| SetDigest { count, digest: [byte; 32] };
    Parity { authority: set(3, 5), content: set(70_000, 6), missing_bodies: 2 }
}

fn statement() -> Statement {
    let space = SpaceId(named(0, 1));
    let terms = Terms { space, from: peer(1), to: peer(2), nonce: [4; 32] };
    Statement::sign(&SigningKey::from_seed(&[2; 32]), &terms, parity(), NOW)
}

fn of_statement(statement: &Statement) -> Value {
    let signature = hex(statement.signature().as_bytes());
    json!({
        "parity": of_parity(statement.claims()),
        "time": statement.time(),
        "signature": signature,
    })
}

fn records(lists: &[ByteBuf]) -> Value {
    lists.iter().map(hex).collect()
}

fn of_hello(hello: &Hello) -> Value {
    json!({
        "version": hello.version,
        "agent": hello.agent,
        "nonce": hex(hello.nonce),
        "certificate": hex(&hello.certificate),
        "kinds": hello.kinds,
    })
}

pub(crate) fn of_parity(parity: &Parity) -> Value {
    let set = |set: SetDigest| json!({ "count": set.count, "digest": hex(set.digest) });
    json!({
        "authority": set(parity.authority),
        "content": set(parity.content),
        "missing_bodies": parity.missing_bodies,
    })
}

fn of_request(request: &Request) -> Value {
    let set = |set: &Set| match set {
        Set::Authority => 0,
        Set::Content => 1,
    };
    match request {
        Request::Hello(hello) => json!({ "hello": of_hello(hello) }),
        Request::Spaces { tags } => json!({ "spaces": tags.iter().map(hex).collect::<Value>() }),
        Request::Reconcile { tag, set: which, message, room } => json!({ "reconcile": {
            "tag": hex(tag), "set": set(which), "message": hex(message), "room": room,
        } }),
        Request::Fetch { tag, ids, room } => {
            json!({ "fetch": { "tag": hex(tag), "ids": shown(ids), "room": room } })
        }
        Request::Range { tag, set: which, span, room } => {
            let (from, to) = (span.from.to_string(), span.to.to_string());
            json!({ "range": {
                "tag": hex(tag), "set": set(which), "from": from, "to": to, "room": room,
            } })
        }
        Request::Push { tag, records: lists } => {
            json!({ "push": { "tag": hex(tag), "records": records(lists) } })
        }
        Request::Parity { tag, statement } => {
            json!({ "parity": { "tag": hex(tag), "statement": of_statement(statement) } })
        }
        Request::Commit { tag, commitment } => {
            json!({ "commit": { "tag": hex(tag), "commitment": hex(commitment) } })
        }
        Request::Prove { tag, secret, parity, ids } => {
            let (parity, ids) = (of_parity(parity), shown(ids));
            let (tag, secret) = (hex(tag), hex(secret));
            json!({ "prove": { "tag": tag, "secret": secret, "parity": parity, "ids": ids } })
        }
    }
}

fn of_response(response: &Response) -> Value {
    let code = |verdict: &PushVerdict| match verdict {
        PushVerdict::Accept => 0,
        PushVerdict::Duplicate => 1,
        PushVerdict::Hold => 2,
        PushVerdict::Reject => 3,
        PushVerdict::Refuse => 4,
    };
    match response {
        Response::Hello(hello) => json!({ "hello": of_hello(hello) }),
        Response::Spaces { shared } => json!({ "spaces": shared }),
        Response::Reconcile { message } => json!({ "reconcile": hex(message) }),
        Response::Records(page) => {
            let (present, absent) = (records(&page.records), shown(&page.absent));
            json!({ "records": { "records": present, "absent": absent } })
        }
        Response::Range { records: lists, next } => {
            let next = next.map(|id| id.to_string());
            json!({ "range": { "records": records(lists), "next": next } })
        }
        Response::Pushed { verdicts } => {
            json!({ "pushed": verdicts.iter().map(code).collect::<Vec<u8>>() })
        }
        Response::Parity { statement } => json!({ "parity": of_statement(statement) }),
        Response::Commit { commitment } => json!({ "commit": hex(commitment) }),
        Response::Proved { secret, parity, proofs } => {
            let proofs: Value = proofs.iter().map(|proof| proof.map(hex)).collect();
            let (secret, parity) = (hex(secret), of_parity(parity));
            json!({ "proved": { "secret": secret, "parity": parity, "proofs": proofs } })
        }
        Response::Unknown => json!("unknown"),
        Response::Refused { reason } => json!({ "refused": reason.0 }),
        Response::Busy => json!("busy"),
    }
}

fn class(error: &MessageError) -> &'static str {
    match error {
        MessageError::Long(_) => "size",
        MessageError::Code(_) => "code",
        MessageError::NotCanonical(_) => "not-canonical",
        MessageError::Limit { .. } => "limit",
        MessageError::Order(_) => "order",
        MessageError::Value(_) => "value",
    }
}

const TAG: [u8; 32] = [9; 32];

/// An array of these parts, each encoded already.
fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    let head = 0x80 + u8::try_from(parts.len()).unwrap();
    [vec![head], parts.concat()].concat()
}

fn part<T: serde::Serialize>(value: &T) -> Vec<u8> {
    to_canonical(value)
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    part(&ByteBuf::from(bytes.to_vec()))
}

/// A hello of these parts.
fn hello_of(agent: &str, nonce: usize, certificate: usize, kinds: &[u64]) -> Vec<u8> {
    let (nonce, certificate) = (blob(&vec![7; nonce]), blob(&vec![1; certificate]));
    array(&[part(&1), part(&1), part(&agent), nonce, certificate, part(&kinds)])
}

fn ids(all: &[[u8; 40]]) -> Vec<u8> {
    part(&all.iter().map(|id| ByteBuf::from(id.to_vec())).collect::<Vec<_>>())
}

fn list(bytes: &[&[u8]]) -> Vec<u8> {
    part(&bytes.iter().map(|bytes| ByteBuf::from(bytes.to_vec())).collect::<Vec<_>>())
}

/// What both directions refuse alike: codes, forms, a hello's limits.
fn tampered_in_general() -> Vec<Value> {
    let canonical = "not-canonical";
    vec![
        tampered("nothing", [], "value"),
        tampered("no array", part(&"hello"), "value"),
        tampered("an empty array", [0x80], "value"),
        tampered("a code in text", array(&[part(&"1")]), "value"),
        tampered("an array of 24", [[0x98, 24].as_slice(), &[1; 24]].concat(), "value"),
        tampered("an array of unknown length", [0x9f, 9, 0xff], "value"),
        tampered("code 0", array(&[part(&0)]), "code"),
        tampered("code 13", array(&[part(&13)]), "code"),
        tampered(
            "a hello without kinds",
            array(&[part(&1), part(&1), part(&""), blob(&[7; 32]), blob(&[])]),
            canonical,
        ),
        tampered(
            "a hello with a seventh part",
            {
                let hello = hello_of("", 32, 3, &[]);
                [&[0x87], &hello[1..], &[0]].concat()
            },
            canonical,
        ),
        tampered("a byte after it", [hello_of("", 32, 3, &[]), vec![0]].concat(), canonical),
        tampered(
            "a byte too few",
            {
                let hello = hello_of("", 32, 3, &[1]);
                hello[..hello.len() - 1].to_vec()
            },
            canonical,
        ),
        tampered(
            "a version written long",
            {
                let hello = hello_of("", 32, 3, &[]);
                [&[0x86, 1, 0x18, 1], &hello[3..]].concat()
            },
            canonical,
        ),
        tampered("an agent of 65 bytes", hello_of(&"x".repeat(65), 32, 3, &[]), "limit"),
        tampered("an agent of two lines", hello_of("two\nlines", 32, 3, &[]), "value"),
        tampered("a nonce of 31 bytes", hello_of("", 31, 3, &[]), canonical),
        tampered("a certificate of 1025 bytes", hello_of("", 32, 1025, &[]), "limit"),
        tampered("65 kinds", hello_of("", 32, 3, &(0..65).collect::<Vec<_>>()), canonical),
        tampered("kinds out of order", hello_of("", 32, 3, &[2, 1]), "order"),
        tampered("a kind twice", hello_of("", 32, 3, &[4, 4]), "order"),
    ]
}

#[test]
fn request() {
    let digest = |count: u64| part(&(count, serde_bytes::ByteArray::new([5u8; 32])));
    let requests = [
        ("hello", Request::Hello(hello())),
        (
            "hello that says the least",
            Request::Hello(Hello {
                agent: String::new(),
                certificate: ByteBuf::new(),
                kinds: vec![],
                ..hello()
            }),
        ),
        ("spaces", Request::Spaces { tags: vec![[1; 32], [2; 32]] }),
        ("no spaces", Request::Spaces { tags: vec![] }),
        (
            "reconcile the authority set",
            Request::Reconcile {
                tag: TAG,
                set: Set::Authority,
                message: ByteBuf::from(vec![0xe1, 0, 0, 2, 0]),
                room: u32::MAX,
            },
        ),
        (
            "reconcile the content set",
            Request::Reconcile {
                tag: TAG,
                set: Set::Content,
                message: ByteBuf::from(vec![0x61]),
                room: 4096,
            },
        ),
        ("fetch", Request::Fetch { tag: TAG, ids: vec![named(0, 1), named(1, 0)], room: 65_536 }),
        (
            "range",
            Request::Range {
                tag: TAG,
                set: Set::Content,
                span: Span { from: named(0, 1), to: named(1, 0) },
                room: 131_072,
            },
        ),
        ("a range of everything", {
            Request::Range { tag: TAG, set: Set::Authority, span: Span::all(), room: u32::MAX }
        }),
        (
            "push",
            Request::Push { tag: TAG, records: vec![ByteBuf::from(vec![0x83]), ByteBuf::new()] },
        ),
        ("parity", Request::Parity { tag: TAG, statement: statement() }),
        ("commit", Request::Commit { tag: TAG, commitment: [8; 32] }),
        (
            "prove",
            Request::Prove {
                tag: TAG,
                secret: [3; 32],
                parity: parity(),
                ids: vec![named(0, 1), named(1, 0)],
            },
        ),
        (
            "prove nothing",
            Request::Prove { tag: TAG, secret: [3; 32], parity: parity(), ids: vec![] },
        ),
    ];
    let entry = |(name, request): &(&str, Request)| {
        let bytes = hex(request.encode().unwrap());
        json!({ "name": name, "bytes": bytes, "meaning": of_request(request) })
    };
    let (low, high) = (*named(0, 1).as_bytes(), *named(1, 0).as_bytes());
    let many: Vec<[u8; 40]> = (0..1025).map(|n| *named(n, 0).as_bytes()).collect();
    let many_tags: Vec<Vec<u8>> =
        (0..257u16).map(|n| [&n.to_be_bytes()[..], &[0; 30]].concat()).collect();
    let many_tags: Vec<&[u8]> = many_tags.iter().map(Vec::as_slice).collect();
    const ROOM: u32 = 65_536;
    let tag = || blob(&TAG);
    let parity_of =
        |parity: Vec<u8>| array(&[part(&6), tag(), array(&[parity, part(&NOW), blob(&[1; 64])])]);
    let seventeen: Vec<[u8; 40]> = (0..17).map(|n| *named(n, 0).as_bytes()).collect();
    let more = vec![
        tampered("code 7, a response's", array(&[part(&7)]), "code"),
        tampered("tags out of order", array(&[part(&2), list(&[&[2; 32], &[1; 32]])]), "order"),
        tampered("a tag twice", array(&[part(&2), list(&[&[1; 32], &[1; 32]])]), "order"),
        tampered("a tag of 31 bytes", array(&[part(&2), list(&[&[1; 31]])]), "not-canonical"),
        tampered("257 tags", array(&[part(&2), list(&many_tags)]), "not-canonical"),
        tampered(
            "a parity that nobody signed",
            array(&[part(&6), tag(), part(&parity())]),
            "not-canonical",
        ),
        tampered(
            "a commitment of 31 bytes",
            array(&[part(&11), tag(), blob(&[8; 31])]),
            "not-canonical",
        ),
        tampered(
            "17 ids to be proved",
            array(&[part(&12), tag(), blob(&[3; 32]), part(&parity()), ids(&seventeen)]),
            "not-canonical",
        ),
        tampered(
            "ids to be proved, out of order",
            array(&[part(&12), tag(), blob(&[3; 32]), part(&parity()), ids(&[high, low])]),
            "order",
        ),
        tampered("set 2", array(&[part(&3), tag(), part(&2), blob(&[]), part(&ROOM)]), "value"),
        tampered(
            "a message of 262145 bytes",
            array(&[part(&3), tag(), part(&0), blob(&vec![0; 262_145]), part(&ROOM)]),
            "limit",
        ),
        tampered("a fetch without room", array(&[part(&4), tag(), ids(&[low])]), "not-canonical"),
        tampered(
            "more room than 32 bits tell",
            array(&[part(&4), tag(), ids(&[low]), part(&(1_u64 << 32))]),
            "not-canonical",
        ),
        tampered(
            "ids out of order",
            array(&[part(&4), tag(), ids(&[high, low]), part(&ROOM)]),
            "order",
        ),
        tampered("an id twice", array(&[part(&4), tag(), ids(&[low, low]), part(&ROOM)]), "order"),
        tampered(
            "an id of 39 bytes",
            array(&[part(&4), tag(), list(&[&[1; 39]]), part(&ROOM)]),
            "not-canonical",
        ),
        tampered("1025 ids", array(&[part(&4), tag(), ids(&many), part(&ROOM)]), "not-canonical"),
        tampered(
            "an id as text",
            array(&[part(&4), tag(), part(&[named(0, 1).to_string()]), part(&ROOM)]),
            "not-canonical",
        ),
        tampered(
            "1025 records",
            array(&[part(&5), tag(), list(&vec![&[][..]; 1025])]),
            "not-canonical",
        ),
        tampered(
            "a record of 63617 bytes",
            array(&[part(&5), tag(), list(&[&vec![0; 63_617]])]),
            "limit",
        ),
        tampered(
            "a range that ends where it begins",
            array(&[part(&10), tag(), part(&1), blob(&low), blob(&low), part(&ROOM)]),
            "value",
        ),
        tampered(
            "a range without a set",
            array(&[part(&10), tag(), blob(&low), blob(&high), part(&ROOM)]),
            "not-canonical",
        ),
        tampered(
            "a digest without its count",
            parity_of(array(&[blob(&[5; 32]), digest(1), part(&0)])),
            "not-canonical",
        ),
        tampered(
            "a negative number of bodies",
            parity_of(array(&[digest(1), digest(1), part(&-1)])),
            "not-canonical",
        ),
    ];
    let (short, long) = apart(tampered_in_general().into_iter().chain(more));
    let made = json!({
        "about": "A request (protocols/README.md, section 8), without the frame around it.",
        "valid": requests.iter().map(entry).collect::<Value>(),
        "tampered": short,
    });
    let file = golden("request.json", &made);
    for entry in list_of(&file, "valid") {
        let request = Request::decode(&bytes(entry, "bytes")).unwrap();
        assert_eq!(of_request(&request), entry["meaning"], "{}", entry["name"]);
        assert_eq!(request.encode().unwrap(), bytes(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered").iter().chain(&long) {
        let error = Request::decode(&bytes(entry, "bytes")).unwrap_err();
        assert_eq!(class(&error), text(entry, "error"), "{}: {error}", entry["name"]);
    }
}

#[test]
fn response() {
    let page = |records: Vec<ByteBuf>, absent| Response::Records(Page { records, absent });
    let all = [
        PushVerdict::Accept,
        PushVerdict::Duplicate,
        PushVerdict::Hold,
        PushVerdict::Reject,
        PushVerdict::Refuse,
    ];
    let responses = [
        ("hello", Response::Hello(hello())),
        ("spaces", Response::Spaces { shared: vec![0, 3, 255] }),
        ("no spaces", Response::Spaces { shared: vec![] }),
        ("reconcile", Response::Reconcile { message: ByteBuf::from(vec![0xe1]) }),
        ("records", page(vec![ByteBuf::from(vec![0x83, 1])], vec![named(0, 1), named(1, 0)])),
        ("no records", page(vec![], vec![])),
        (
            "a range that goes on",
            Response::Range { records: vec![ByteBuf::from(vec![0x83])], next: Some(named(1, 0)) },
        ),
        ("an empty range", Response::Range { records: vec![], next: None }),
        ("pushed", Response::Pushed { verdicts: all.to_vec() }),
        ("parity", Response::Parity { statement: statement() }),
        ("commit", Response::Commit { commitment: [8; 32] }),
        (
            "proved in part",
            Response::Proved {
                secret: [4; 32],
                parity: parity(),
                proofs: vec![Some([1; 32]), None],
            },
        ),
        ("unknown", Response::Unknown),
        ("refused as malformed", Response::Refused { reason: Refusal::MALFORMED }),
        ("refused as unsupported", Response::Refused { reason: Refusal::UNSUPPORTED }),
        ("refused for want of a hello", Response::Refused { reason: Refusal::HELLO }),
        ("refused as a flood", Response::Refused { reason: Refusal::FLOOD }),
        ("refused by a fault", Response::Refused { reason: Refusal::INTERNAL }),
        ("refused for a later reason", Response::Refused { reason: Refusal(u64::MAX) }),
        ("busy", Response::Busy),
    ];
    let entry = |(name, response): &(&str, Response)| {
        let bytes = hex(response.encode().unwrap());
        json!({ "name": name, "bytes": bytes, "meaning": of_response(response) })
    };
    let id = *named(0, 1).as_bytes();
    let codes = |codes: &[u16]| part(&codes);
    let more = vec![
        tampered("positions out of order", array(&[part(&2), codes(&[3, 2])]), "order"),
        tampered("a position twice", array(&[part(&2), codes(&[3, 3])]), "order"),
        tampered("position 256", array(&[part(&2), codes(&[256])]), "limit"),
        tampered("a message of 262145 bytes", array(&[part(&3), blob(&vec![0; 262_145])]), "limit"),
        tampered("records without what is absent", array(&[part(&4), list(&[])]), "not-canonical"),
        tampered("absent ids twice", array(&[part(&4), list(&[]), ids(&[id, id])]), "order"),
        tampered(
            "1025 records",
            array(&[part(&4), list(&vec![&[][..]; 1025]), ids(&[])]),
            "not-canonical",
        ),
        tampered(
            "a promise of records",
            [0x83, 4, 0x80, 0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            "not-canonical",
        ),
        tampered("verdict 5", array(&[part(&5), codes(&[5])]), "value"),
        tampered("1025 verdicts", array(&[part(&5), codes(&[0; 1025])]), "not-canonical"),
        tampered(
            "a parity in a request's form",
            array(&[part(&6), blob(&TAG), part(&statement())]),
            "not-canonical",
        ),
        tampered("a range without an end", array(&[part(&10), list(&[])]), "not-canonical"),
        tampered(
            "a proof of 31 bytes",
            array(&[part(&12), blob(&[4; 32]), part(&parity()), list(&[&[1; 31]])]),
            "not-canonical",
        ),
        tampered(
            "17 proofs",
            array(&[part(&12), blob(&[4; 32]), part(&parity()), list(&[&[1; 32][..]; 17])]),
            "not-canonical",
        ),
        tampered("unknown, and why", array(&[part(&7), part(&1)]), "not-canonical"),
        tampered("refused for no reason", array(&[part(&8)]), "not-canonical"),
        tampered("busy, and until when", array(&[part(&9), part(&1)]), "not-canonical"),
    ];
    let (short, long) = apart(tampered_in_general().into_iter().chain(more));
    let made = json!({
        "about": "A response (protocols/README.md, section 8), without the frame around it.",
        "valid": responses.iter().map(entry).collect::<Value>(),
        "tampered": short,
    });
    let file = golden("response.json", &made);
    for entry in list_of(&file, "valid") {
        let response = Response::decode(&bytes(entry, "bytes")).unwrap();
        assert_eq!(of_response(&response), entry["meaning"], "{}", entry["name"]);
        assert_eq!(response.encode().unwrap(), bytes(entry, "bytes"));
    }
    for entry in list_of(&file, "tampered").iter().chain(&long) {
        let error = Response::decode(&bytes(entry, "bytes")).unwrap_err();
        assert_eq!(class(&error), text(entry, "error"), "{}: {error}", entry["name"]);
    }
    // A message of more than a mebibyte is not even looked at.
    let long = vec![0x81; ocm_sync::limits::MESSAGE_BYTES + 1];
    assert_eq!(class(&Response::decode(&long).unwrap_err()), "size");
    assert_eq!(class(&Request::decode(&long).unwrap_err()), "size");
}
