//! Tells another program what got worse: each notice is posted once, and again for a day where that fails.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use memsample_input::{SecretFile, SecretFileError, with_causes};
use memsample_store::encryption;
use reqwest::{Client, Url, header, redirect};
use serde::Serialize;
use sha2::Sha256;

use crate::index::{Index, Notice};
use crate::link::Links;
use crate::wording::{page, sentence};

/// How often it is looked whether there is something to send.
const LOOK: Duration = Duration::from_secs(1);
/// How long one answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the first failure it is tried again; twice as long after each one that follows.
const FIRST_WAIT_MS: i64 = 2000;
/// The longest wait between two tries.
const MAX_WAIT_MS: i64 = 600_000;
/// How often it is tried: for about a day.
const MAX_TRIES: u32 = 150;
/// A larger file holds something else.
const MAX_FILE: u64 = 1 << 16;

/// Why a webhook is refused.
#[derive(Debug)]
pub struct WebhookError(String);

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WebhookError {}

/// Where notices are posted to. The address often has a secret in it, and is never shown.
pub struct Webhook {
    url: Url,
    secret: Option<Vec<u8>>,
}

impl Webhook {
    /// Reads a file with the address on its first line, and on its second, which may be missing, a secret with which
    /// notices are signed.
    ///
    /// # Errors
    ///
    /// It cannot be read, others may read it, or it has no address of HTTP.
    pub fn read(path: &Path) -> Result<Self, WebhookError> {
        let refuse = |reason: &dyn fmt::Display| {
            WebhookError(format!("the webhook file `{}` {reason}", path.display()))
        };
        let file = SecretFile::read(path, MAX_FILE).map_err(|error| match error {
            SecretFileError::Unreadable(error) => refuse(&format_args!("cannot be read: {error}")),
            SecretFileError::Open => refuse(&"must be readable by its owner alone: `chmod 600` it"),
            SecretFileError::TooLarge => refuse(&"must have no more than an address and a secret"),
        })?;
        let text = String::from_utf8(file.bytes).map_err(|_| refuse(&"must be text in UTF-8"))?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let url = lines.next().and_then(|line| Url::parse(line).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| refuse(&"must begin with an address, such as https://…"))?;
        let secret = lines.next().map(|line| line.as_bytes().to_vec());
        match lines.next() {
            Some(_) => Err(refuse(&"must have no more than an address and a secret")),
            None => Ok(Self { url, secret }),
        }
    }
}

/// How the sending goes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sending {
    /// Notices that were sent since this server began.
    pub(crate) sent: u64,
    /// Notices that are not sent any more, since they were refused for a day.
    pub(crate) given_up: u64,
    /// Why the last one was not sent; `None` when it was.
    pub(crate) problem: Option<String>,
}

/// What is posted.
#[derive(Serialize)]
struct Message<'a> {
    /// For people; chat programs show it.
    text: String,
    #[serde(flatten)]
    notice: &'a Notice,
    /// The page about it, below this server.
    page: String,
    /// The same with the public address of this server, where that is known.
    url: Option<String>,
}

/// Sends notices until it is dropped.
pub(crate) async fn send(
    webhook: Webhook,
    index: Index,
    links: Links,
    public: Option<String>,
    sending: Arc<Mutex<Sending>>,
) {
    encryption::choose();
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("memsample/", env!("CARGO_PKG_VERSION")))
        .build();
    let Ok(client) = client.inspect_err(|error| tracing::error!("no webhook: {error}")) else {
        return;
    };
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        // All that are due; each is sent once, or waits.
        loop {
            let of_index = index.clone();
            let now = Timestamp::now().as_millisecond();
            let next = tokio::task::spawn_blocking(move || of_index.notice_to_send(now)).await;
            let Ok(Ok(Some((notice, tries)))) = next else { break };
            let outcome =
                post(&client, &webhook, &message(&notice, &links, public.as_deref())).await;
            let mut state = sending.lock().unwrap_or_else(PoisonError::into_inner);
            let noted = match outcome {
                Ok(()) => {
                    state.sent += 1;
                    state.problem = None;
                    index.set_sent(&notice.id)
                }
                Err(problem) => {
                    if state.problem.as_ref() != Some(&problem) {
                        tracing::warn!("the webhook: {problem}");
                    }
                    state.problem = Some(problem);
                    if tries + 1 >= MAX_TRIES {
                        state.given_up += 1;
                        index.set_sent(&notice.id)
                    } else {
                        index.set_next_try(&notice.id, now + wait_ms(tries))
                    }
                }
            };
            drop(state);
            if let Err(error) = noted {
                tracing::warn!("{error}");
                break;
            }
        }
    }
}

fn wait_ms(tries: u32) -> i64 {
    FIRST_WAIT_MS.saturating_mul(1 << tries.min(20)).min(MAX_WAIT_MS)
}

fn message<'a>(notice: &'a Notice, links: &Links, public: Option<&str>) -> Message<'a> {
    let page = page(notice, links);
    let url = public.map(|public| {
        let below = page.strip_prefix(links.prefix()).unwrap_or(&page);
        format!("{}{below}", public.trim_end_matches('/'))
    });
    let mut text = sentence(notice);
    if let Some(url) = &url {
        text.push_str(&format!(": {url}"));
    }
    Message { text, notice, page, url }
}

async fn post(client: &Client, webhook: &Webhook, message: &Message<'_>) -> Result<(), String> {
    let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    let mut request = client
        .post(webhook.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-memsample-event", message.notice.kind.name())
        .header("x-memsample-delivery", message.notice.id.as_str());
    if let Some(secret) = &webhook.secret {
        request = request.header("x-memsample-signature", signature(secret, &body));
    }
    // An error of the client says the address, which may be secret.
    let answer = request.body(body).send().await;
    let answer = answer.map_err(|error| with_causes(&error.without_url()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it was answered with {status}")),
    }
}

/// As many services sign what they post: HMAC of the body with SHA-256.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_rfc_4231() {
        assert_eq!(
            signature(b"Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn it_is_tried_for_about_a_day() {
        let all: i64 = (0..MAX_TRIES).map(wait_ms).sum();
        assert!((80_000_000..100_000_000).contains(&all), "{all}");
    }
}
