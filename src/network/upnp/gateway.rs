//! Asking a router to map ports (UPnP: the service `WANIPConnection` of an internet gateway device).
//!
//! Whoever is on the link can say that it is one. So no redirect is followed, and what is read ends at
//! [`ANSWER_BYTES`] and [`ANSWER_TIME`]; the libraries at hand have no such limits.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use roxmltree::{Document, Node, ParsingOptions};

use crate::network::address::Transport;

/// Bytes of a description or an answer that are read; those of gateways have a few thousand.
const ANSWER_BYTES: u64 = 64 << 10;

/// XML nodes of a description or an answer, of some hundred in practice.
pub(super) const ANSWER_NODES: u32 = 4096;

/// How long one request may take in all.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Characters of what a gateway says that are shown.
const SAID: usize = 80;

/// A gateway, and this host's address on its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) own: Ipv4Addr,
    /// Where it is asked, a URL.
    pub(super) control: String,
    /// The service that is asked there.
    pub(super) service: &'static str,
}

/// Why a gateway is not found, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// Nobody answered.
    #[error("no router on this network answers to UPnP")]
    None,
    /// What answered is no gateway that can be asked.
    #[error("what answers to UPnP at {0} is no router that maps ports: {1}")]
    Unfit(IpAddr, String),
    /// The search could not be sent.
    #[error("the search for a router cannot be sent: {0}")]
    Search(#[from] io::Error),
    /// A request came to nothing.
    #[error("the router did not answer: {0}")]
    Silent(String),
    /// An answer that says nothing.
    #[error("the router's answer is not understood: {0}")]
    Form(String),
    /// It refused: the code of UPnP, and its words.
    #[error("the router refused: {1} (UPnP error {0})")]
    Refused(u32, String),
}

/// Another host has the port.
pub(super) const CONFLICT: u32 = 718;
/// Only mappings that last for ever are made.
pub(super) const PERMANENT_ONLY: u32 = 725;

/// Whether an element is called so, whatever its namespace.
pub(super) fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

impl Gateway {
    /// The address of its outer side; 0.0.0.0 where it has none.
    pub(super) async fn external(&self) -> Result<Ipv4Addr, GatewayError> {
        let said_it = self.ask("GetExternalIPAddress", &[], Some("NewExternalIPAddress")).await?;
        if said_it.is_empty() {
            return Ok(Ipv4Addr::UNSPECIFIED);
        }
        said_it.parse().map_err(|_| GatewayError::Form(said(&said_it)))
    }

    /// Maps one of its ports to one of this host, for `lease`; zero is for ever.
    pub(super) async fn map(
        &self,
        transport: Transport,
        external: u16,
        internal: u16,
        lease: Duration,
    ) -> Result<(), GatewayError> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(transport).to_owned()),
            ("NewInternalPort", internal.to_string()),
            ("NewInternalClient", self.own.to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", "OCM".to_owned()),
            ("NewLeaseDuration", lease.as_secs().to_string()),
        ];
        self.ask("AddPortMapping", &arguments, None).await.map(drop)
    }

    /// Ends a mapping.
    pub(super) async fn unmap(
        &self,
        transport: Transport,
        external: u16,
    ) -> Result<(), GatewayError> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(transport).to_owned()),
        ];
        self.ask("DeletePortMapping", &arguments, None).await.map(drop)
    }

    /// One action. Returns the value wanted of its answer.
    async fn ask(
        &self,
        action: &'static str,
        arguments: &[(&str, String)],
        wanted: Option<&'static str>,
    ) -> Result<String, GatewayError> {
        let (service, control) = (self.service, self.control.clone());
        let arguments: String =
            arguments.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope \
             xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{service}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        blocking(move || {
            let request = agent()
                .post(&control)
                .header("Content-Type", "text/xml; charset=\"utf-8\"")
                .header("SOAPAction", format!("\"{service}#{action}\""));
            let silent = |e: ureq::Error| GatewayError::Silent(e.to_string());
            let mut answer = request.send(&body).map_err(silent)?;
            let status = answer.status();
            let text = read(&mut answer).map_err(silent)?;
            answer_of(status.is_success(), &text, wanted)
                .unwrap_or_else(|why| Err(GatewayError::Form(format!("HTTP {status}, {why}"))))
        })
        .await
    }
}

/// What an answer says; the outer error is that it says nothing.
fn answer_of(
    success: bool,
    text: &str,
    wanted: Option<&str>,
) -> Result<Result<String, GatewayError>, String> {
    let document = parse(text)?;
    let value = |name: &str| {
        let node = document.descendants().find(|node| is(node, name));
        node.map(|node| node.text().unwrap_or_default().trim().to_owned())
    };
    if let Some(code) = value("errorCode").and_then(|code| code.parse().ok()) {
        let words = value("errorDescription").unwrap_or_default();
        return Ok(Err(GatewayError::Refused(code, said(&words))));
    }
    if !success {
        return Err("without a reason".to_owned());
    }
    match wanted {
        None => Ok(Ok(String::new())),
        Some(name) => value(name).map(Ok).ok_or_else(|| format!("without {name}")),
    }
}

pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: ANSWER_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| format!("no XML: {e}"))
}

pub(super) fn read(answer: &mut ureq::http::Response<ureq::Body>) -> Result<String, ureq::Error> {
    answer.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string()
}

pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build()
        .new_agent()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GatewayError> + Send + 'static,
) -> Result<T, GatewayError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(GatewayError::Silent(e.to_string())))
}

const fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Quic => "UDP",
    }
}

/// What a gateway says, for people: short, in one line.
pub(super) fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_a_value_or_why_not() {
        let body = |inner: &str| {
            format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{inner}\
                 </s:Body></s:Envelope>"
            )
        };
        let wanted = Some("NewExternalIPAddress");
        let good =
            body("<u:R xmlns:u=\"x\"><NewExternalIPAddress>11.0.0.1</NewExternalIPAddress></u:R>");
        assert_eq!(answer_of(true, &good, wanted).unwrap().unwrap(), "11.0.0.1");
        assert!(answer_of(true, &body(""), wanted).is_err());
        assert_eq!(answer_of(true, &body(""), None).unwrap().unwrap(), "");
        assert!(answer_of(false, &body(""), None).is_err());
        let fault = body(
            "<s:Fault><detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>718\
             </errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError>\
             </detail></s:Fault>",
        );
        let refused = answer_of(false, &fault, None).unwrap().unwrap_err();
        assert!(
            matches!(&refused, GatewayError::Refused(CONFLICT, words) if words == "ConflictInMappingEntry")
        );
    }
}
