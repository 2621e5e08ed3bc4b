//! Everything that leaves a device, in one file. The agent drops what is not named here or what the
//! device's owner did not consent to, whatever its other code hands out; `docs/privacy.md` shows this
//! table, and a test compares both with what an agent really sends. Prompts and answers are not in it.

use core::net::{IpAddr, SocketAddr};
use std::borrow::Cow;
use std::fmt::Write as _;

use crate::telemetry as names;

/// What a value is replaced by when it does not have the form that was declared for it.
pub const REDACTED: &str = "redacted";
/// Longest id, word, name or version that leaves, in bytes.
const MAX_SHORT_BYTES: usize = 128;
/// Longest sentence that leaves, in characters.
const MAX_TEXT_CHARS: usize = 1000;

/// What the owner of a device decides about, all of one group at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Without it the device cannot be reached, updated or verified.
    Required,
    /// The machine's name in its network.
    Hostname,
    /// What the machine is.
    Hardware,
    /// What it has left.
    Resources,
    /// How fast and how much models answer: numbers only.
    Metrics,
    /// Sentences about what went wrong, with addresses, mail addresses and home folders taken out.
    Messages,
}

impl Group {
    /// Every group that can be switched.
    pub const OPTIONAL: [Self; 5] =
        [Self::Hostname, Self::Hardware, Self::Resources, Self::Metrics, Self::Messages];

    /// As settings and documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Hostname => "hostname",
            Self::Hardware => "hardware",
            Self::Resources => "resources",
            Self::Metrics => "metrics",
            Self::Messages => "messages",
        }
    }

    /// The switchable group of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::OPTIONAL.into_iter().find(|group| group.as_str() == text)
    }

    /// Whether it leaves while nobody said anything.
    pub fn default_on(self) -> bool {
        self != Self::Hostname
    }

    /// What is lost without it.
    pub fn without_it(self) -> &'static str {
        match self {
            Self::Required => "the device is no device of the fleet",
            Self::Hostname => "operators see the name given at enrolment only",
            Self::Hardware => "rollout previews cannot say whether a model fits",
            Self::Resources => "operators do not see that memory or disk run out",
            Self::Metrics => "nobody sees how fast a version answers or whether it fails",
            Self::Messages => "operators see the word for a failure and no sentence",
        }
    }
}

/// Where it is in what the agent sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `Message.field` of `fleet/v1/*.proto`.
    Field,
    /// An OTLP metric.
    Metric,
    /// An attribute of OTLP metrics' points.
    Attribute,
    /// An attribute of the OTLP resource.
    Resource,
    /// Shown by the connection itself; no program can leave it out.
    Connection,
}

/// What a value may look like; anything else is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A number, a truth value or a list of them.
    Number,
    /// Keys, hashes, nonces, certificates.
    Bytes,
    /// Letters, digits and `-`.
    Id,
    /// Letters, digits and `._-+:`.
    Word,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// What people called something; whoever names it decides what it says.
    Name,
    /// A sentence, see [`redact`].
    Text,
}

/// How long a controller keeps it, see "Retention" in `docs/privacy.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Only while the request is answered.
    No,
    /// As long as the device is known.
    Device,
    /// The newest only, as long as the device is known; of revoked devices as tenants set it.
    Newest,
    /// As telemetry, as tenants set it.
    Telemetry,
    /// In the audit log, and as long as that.
    Audit,
}

impl Kept {
    fn words(self) -> &'static str {
        match self {
            Self::No => "not kept",
            Self::Device => "with the device",
            Self::Newest => "newest only",
            Self::Telemetry => "telemetry",
            Self::Audit => "newest, and changes in the audit log",
        }
    }
}

/// One thing that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub place: Place,
    /// Name there.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it can say something about a person, and what.
    pub personal: Option<&'static str>,
    /// With what it is switched.
    pub group: Group,
    /// What it may look like.
    pub form: Form,
    /// How long it is kept.
    pub kept: Kept,
}

/// The items of one place.
macro_rules! items {
    ($($place:ident { $($name:expr, $group:ident, $form:expr, $kept:ident, $purpose:literal
        $(, personal $personal:literal)?;)* })*) => {
        &[$($(Item {
            place: Place::$place,
            name: $name,
            purpose: $purpose,
            personal: items!(@ $($personal)?),
            group: Group::$group,
            form: $form,
            kept: Kept::$kept,
        },)*)*]
    };
    (@ $personal:literal) => { Some($personal) };
    (@) => { None };
}

/// Everything that leaves a device.
pub const DECLARED: &[Item] = items! {
    Connection {
        "network address", Required, Form::Word, No,
            "answers find their way; strangers are counted by it",
            personal "of a device at somebody's home";
        "client certificate", Required, Form::Bytes, No, "the device proves which one it is";
    }
    Field {
        "EnrolRequest.token", Required, Form::Bytes, No, "the right to enrol; its hash is known";
        "EnrolRequest.csr_der", Required, Form::Bytes, Device, "the device's public key";
        "EnrolRequest.hpke_public", Required, Form::Bytes, Device, "data keys are sealed to it";
        "EnrolRequest.name", Required, Form::Name, Device, "operators tell devices apart by it",
            personal "if a person's name is given to a device";
        "EnrolRequest.labels", Required, Form::Name, Device, "rollouts and policies select by it",
            personal "if a label names a person";
        "EnrolRequest.protocol", Required, Form::Number, No, "both sides speak the same version";
        "ApplyRequest.enrolment_id", Required, Form::Word, No, "which tenant is asked";
        "ApplyRequest.csr_der", Required, Form::Bytes, Device, "the device's public key";
        "ApplyRequest.hpke_public", Required, Form::Bytes, Device, "data keys are sealed to it";
        "ApplyRequest.name", Required, Form::Name, Device, "operators tell devices apart by it",
            personal "if a person's name is given to a device";
        "ApplyRequest.labels", Required, Form::Name, Device, "rollouts and policies select by it",
            personal "if a label names a person";
        "ApplyRequest.protocol", Required, Form::Number, No, "both sides speak the same version";
        "ClaimRequest.enrolment_id", Required, Form::Word, No, "which tenant is asked";
        "ClaimRequest.csr_der", Required, Form::Bytes, Device, "the device's public key";
        "ClaimRequest.hpke_public", Required, Form::Bytes, Device, "data keys are sealed to it";
        "ClaimRequest.name", Required, Form::Name, Device, "operators tell devices apart by it",
            personal "if a person's name is given to a device";
        "ClaimRequest.labels", Required, Form::Name, Device, "rollouts and policies select by it",
            personal "if a label names a person";
        "ClaimRequest.protocol", Required, Form::Number, No, "both sides speak the same version";
        "ClaimRequest.factory_chain_der", Required, Form::Bytes, No, "who made the device",
            personal "if its manufacturer names a person in it";
        "ClaimRequest.challenge_id", Required, Form::Id, No, "the request cannot be used again";
        "ClaimRequest.nonce", Required, Form::Bytes, No, "the request cannot be used again";
        "ClaimRequest.proof", Required, Form::Bytes, No, "the device holds the factory key";
        "ClaimRequest.scheme", Required, Form::Number, No, "how the proof was signed";
        "ChallengeRequest.device_id", Required, Form::Id, No, "whose certificate is to be renewed";
        "RenewRequest.device_id", Required, Form::Id, No, "whose certificate is to be renewed";
        "RenewRequest.tenant_id", Required, Form::Id, No, "the tenant that it belongs to";
        "RenewRequest.nonce", Required, Form::Bytes, No, "the request cannot be used again";
        "RenewRequest.csr_der", Required, Form::Bytes, No, "the key that is certified";
        "RenewRequest.proof", Required, Form::Bytes, No, "the device holds that key";
        "RenewRequest.protocol", Required, Form::Number, No, "both sides speak the same version";
        "Hello.protocol", Required, Form::Number, No, "both sides speak the same version";
        "Hello.boot_id", Required, Form::Id, No, "tells a reconnect from a restart";
        "Instance.counter", Required, Form::Number, Newest, "a copied device shows itself";
        "Instance.value", Required, Form::Bytes, Newest, "a copied device shows itself";
        "ProbeAnswer.nonce", Required, Form::Bytes, No, "who is at the other end now";
        "Erased.order_id", Required, Form::Id, Audit, "which order to erase it answers";
        "Erased.chunks", Required, Form::Number, Audit, "how many chunks were erased";
        "Erased.versions", Required, Form::Number, Audit, "how many versions were erased";
        "Erased.bytes", Required, Form::Number, Audit, "how much was erased";
        "Erased.left", Required, Form::Word, Audit, "what could not be erased";
        "Generation.epoch", Required, Form::Number, Newest, "orders desired states";
        "Generation.counter", Required, Form::Number, Newest, "orders desired states";
        "DeviceFacts.agent_version", Required, Form::Word, Newest, "old agents are found";
        "DeviceFacts.os", Hardware, Form::Word, Newest, "what a version can run on";
        "DeviceFacts.arch", Hardware, Form::Word, Newest, "what a version can run on";
        "DeviceFacts.cpus", Hardware, Form::Number, Newest, "what a version can run on";
        "DeviceFacts.memory_bytes", Hardware, Form::Number, Newest, "whether a model fits";
        "DeviceFacts.disk_free_bytes", Resources, Form::Number, Newest, "whether a model fits";
        "DeviceFacts.cpu_features", Hardware, Form::Word, Newest, "how fast a model can be";
        "DeviceFacts.hostname", Hostname, Form::Name, Newest, "finds the machine in its network",
            personal "people name machines after themselves";
        "SlotStatus.slot", Required, Form::Word, Newest, "which slot it is about";
        "SlotStatus.phase", Required, Form::Number, Audit, "how far an update is";
        "SlotStatus.target_version_id", Required, Form::Id, Audit, "what an update goes to";
        "SlotStatus.serving_version_id", Required, Form::Id, Audit, "which version answers";
        "SlotStatus.reason", Required, Form::Word, Audit, "why an update failed, as a word";
        "SlotStatus.message", Messages, Form::Text, Newest, "why an update failed, as a sentence",
            personal "if a file's name in an error names a person";
        "SlotStatus.bytes_total", Required, Form::Number, Newest, "progress of a download";
        "SlotStatus.bytes_done", Required, Form::Number, Newest, "progress of a download";
        "SlotStatus.rollout_id", Required, Form::Id, Audit, "the rollout that it answers to";
        "SlotStatus.at_unix_us", Required, Form::Number, Audit, "when the state changed";
        "Heartbeat.sequence", Required, Form::Number, No, "the connection is alive";
        "Heartbeat.memory_available_bytes", Resources, Form::Number, Newest, "memory runs out";
        "Heartbeat.disk_free_bytes", Resources, Form::Number, Newest, "the disk runs full";
        "Rejected.reason", Messages, Form::Text, Newest, "why a desired state was refused";
        "GetVersionRequest.version_id", Required, Form::Id, No, "which version to fetch";
        "GetTrustMetadataRequest.name", Required, Form::Word, No, "what the tenant's owner released";
        "GetTrustMetadataRequest.max_bytes", Required, Form::Number, No, "how much the device reads";
        "FetchChunksRequest.chunk_ids", Required, Form::Bytes, No, "which chunks are missing";
        "FetchChunksRequest.chunk_bytes", Required, Form::Number, No, "how much they take";
        "FetchChunksRequest.accepts_locations", Required, Form::Number, No, "what the device can read";
        "FetchChunksRequest.accepts_waiting", Required, Form::Number, No, "what the device can read";
        "WrapDataKeyRequest.version_id", Required, Form::Id, Audit, "which version to open";
    }
    Resource {
        "service.name", Metrics, Form::Word, No, "what measured";
        "service.version", Metrics, Form::Word, No, "which build measured";
        "device.id", Metrics, Form::Id, No, "for people who read a batch; never believed";
    }
    Metric {
        names::REQUEST_DURATION, Metrics, Form::Number, Telemetry, "how long requests take",
            personal "when a device is used, if one person uses it";
        names::TIME_TO_FIRST_TOKEN, Metrics, Form::Number, Telemetry, "how fast answers begin";
        names::TIME_PER_OUTPUT_TOKEN, Metrics, Form::Number, Telemetry, "how fast answers go on";
        names::TOKEN_USAGE, Metrics, Form::Number, Telemetry, "how much is asked and answered",
            personal "how much a device is used, if one person uses it";
        names::MEMORY_USAGE, Metrics, Form::Number, Telemetry, "how much memory a model takes";
        names::SPOOL_DROPPED, Metrics, Form::Number, Telemetry, "measurements were lost";
    }
    Attribute {
        names::ATTR_SLOT, Metrics, Form::Word, Telemetry, "which slot answered";
        names::ATTR_VERSION_ID, Metrics, Form::Id, Telemetry, "which version answered";
        names::ATTR_ROLLOUT_ID, Metrics, Form::Id, Telemetry, "which rollout brought it";
        names::ATTR_OPERATION, Metrics, Form::OneOf(&["chat", "text_completion"]), Telemetry,
            "which kind of request";
        names::ATTR_PROVIDER, Metrics, Form::OneOf(&[names::PROVIDER]), Telemetry,
            "which engine answered";
        names::ATTR_ERROR, Metrics, Form::Word, Telemetry, "why requests failed, as a word";
        names::ATTR_TOKEN_TYPE, Metrics, Form::OneOf(&[names::TOKEN_INPUT, names::TOKEN_OUTPUT]),
            Telemetry, "read or written";
    }
};

/// The declaration of `name` at `place`.
pub fn find(place: Place, name: &str) -> Option<&'static Item> {
    DECLARED.iter().find(|item| item.place == place && item.name == name)
}

impl Item {
    /// `value` as it may leave: itself, without what [`redact`] takes out, or [`REDACTED`].
    pub fn value<'a>(&self, value: &'a str) -> Cow<'a, str> {
        let short = value.len() <= MAX_SHORT_BYTES;
        let made_of = |more: &str| {
            short && value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let fits = match self.form {
            Form::Text => return redact(value).into(),
            Form::Number | Form::Bytes => true,
            Form::Id => made_of("-"),
            Form::Word => made_of("._-+:"),
            Form::OneOf(words) => words.contains(&value),
            Form::Name => value.len() <= 2 * MAX_SHORT_BYTES && !value.contains(char::is_control),
        };
        if fits { value.into() } else { REDACTED.into() }
    }
}

/// A sentence without what points to a person or a network: mail and network addresses, home folders
/// and this project's tokens, word by word.
pub fn redact(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let around = |c: char| c.is_whitespace() || ",;.()\"'`<>".contains(c);
        let bare = word.trim_start_matches(around);
        let bare = bare.trim_end_matches(|c: char| around(c) || c == ':');
        match replaced(bare) {
            Some(by) => out.push_str(&word.replacen(bare, by, 1)),
            None => out.push_str(word),
        }
    }
    out.chars().take(MAX_TEXT_CHARS).collect()
}

fn replaced(word: &str) -> Option<&'static str> {
    let host = word.split_once("://").map_or(word, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or(host);
    let bracketed = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = host.parse::<SocketAddr>().is_ok() || bracketed.parse::<IpAddr>().is_ok();
    let is_token = |word: &str| {
        let (prefix, rest) = word.split_once('_').unwrap_or(("", ""));
        prefix.len() == 3 && prefix.starts_with("ef") && rest.len() >= 16
    };
    let is_mail = word.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.'));
    // What comes after such a folder is somebody's name.
    let mut folders = word.split(['/', '\\']).rev().skip(1);
    let is_home = folders.any(|folder| matches!(folder, "home" | "Users" | "root"));
    if is_mail {
        Some("[mail address]")
    } else if is_address {
        Some("[address]")
    } else if is_home {
        Some("[home folder]")
    } else if word.split(['=', ':', '/']).any(is_token) {
        Some("[token]")
    } else {
        None
    }
}

/// The tables of `docs/privacy.md`.
pub fn markdown() -> String {
    let mut text = String::new();
    text.push_str("| group | unless said otherwise | without it |\n|---|---|---|\n");
    for group in Group::OPTIONAL {
        let default = if group.default_on() { "on" } else { "off" };
        let _ = writeln!(text, "| `{}` | {default} | {} |", group.as_str(), group.without_it());
    }
    let titles = [
        (Place::Connection, "The connection itself"),
        (Place::Field, "Messages"),
        (Place::Metric, "Metrics"),
        (Place::Attribute, "Attributes of metrics"),
        (Place::Resource, "Where metrics come from"),
    ];
    for (place, title) in titles {
        let _ = write!(text, "\n### {title}\n\n| name | purpose | personal | group | kept |\n");
        text.push_str("|---|---|---|---|---|\n");
        for item in DECLARED.iter().filter(|item| item.place == place) {
            let (group, kept) = (item.group.as_str(), item.kept.words());
            let personal = item.personal.unwrap_or("no");
            let _ = writeln!(
                text,
                "| `{}` | {} | {personal} | {group} | {kept} |",
                item.name, item.purpose
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_declared_twice_and_optional_names_read_back() {
        for (at, item) in DECLARED.iter().enumerate() {
            let again = DECLARED[..at].iter().any(|i| i.place == item.place && i.name == item.name);
            assert!(!again, "{}", item.name);
        }
        for group in Group::OPTIONAL {
            assert_eq!(Group::parse(group.as_str()), Some(group));
        }
        assert_eq!(Group::parse("required"), None, "what is required cannot be switched");
    }

    #[test]
    fn a_value_of_another_form_does_not_leave() {
        let check = |name, value: &str, expected: &str| {
            let item = DECLARED.iter().find(|item| item.name == name).unwrap();
            assert_eq!(item.value(value), expected, "{name}");
        };
        check(names::ATTR_OPERATION, "chat", "chat");
        check(names::ATTR_OPERATION, "write to ada@example.com", REDACTED);
        check(names::ATTR_ERROR, "worker_died", "worker_died");
        check(names::ATTR_ERROR, "cannot read it", REDACTED);
        check(names::ATTR_VERSION_ID, "", "");
        check(names::ATTR_SLOT, &"x".repeat(200), REDACTED);
        check("DeviceFacts.hostname", "ada\u{1b}[2J", REDACTED);
    }

    #[test]
    fn sentences_lose_people_and_networks_and_keep_the_rest() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text), expected);
        check("the model does not fit: 7 of 4 GB", "the model does not fit: 7 of 4 GB");
        check("ask ada.l@example.com, please", "ask [mail address], please");
        for home in ["home", "Users"] {
            let said = format!("cannot open '/{home}/ada/m.gguf': gone");
            check(&said, "cannot open '[home folder]': gone");
        }
        check("no route to 192.0.2.7:443", "no route to [address]");
        check("no route to https://192.0.2.7:443/x", "no route to [address]");
        check("from [2001:db8::1]:80 and 2001:db8::1.", "from [address] and [address].");
        check("token=efe_0123456789abcdef0123 used up", "[token] used up");
        check("/var/lib/edgeformer is full", "/var/lib/edgeformer is full");
        assert_eq!(redact(&"x ".repeat(5000)).chars().count(), MAX_TEXT_CHARS);
    }
}
