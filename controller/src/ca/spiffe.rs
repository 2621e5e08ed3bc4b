//! The name in a device's certificate: `spiffe://<trust domain>/tenant/<tenant>/device/<device>`.

use std::fmt;
use std::str::FromStr;

use edgeformer_proto::ids::{DeviceId, TenantId};

/// A parsed SPIFFE id of a device. Prints what it parses, and nothing else parses to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The installation's trust domain.
    pub trust_domain: String,
    /// The tenant that owns the device.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
}

impl SpiffeId {
    /// Names one device.
    pub fn new(trust_domain: &str, tenant: TenantId, device: DeviceId) -> Self {
        Self { trust_domain: trust_domain.to_owned(), tenant, device }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, tenant, device } = self;
        write!(f, "spiffe://{trust_domain}/tenant/{tenant}/device/{device}")
    }
}

impl FromStr for SpiffeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(200).collect();
            format!("{shown:?} is not spiffe://<trust domain>/tenant/<id>/device/<id>")
        };
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "tenant", tenant, "device", device] = parts[..] else {
            return Err(bad());
        };
        let id = Self::new(
            trust_domain,
            tenant.parse().map_err(|_| bad())?,
            device.parse().map_err(|_| bad())?,
        );
        // One spelling only: upper case or a braced UUID would be a second name of one device.
        (!trust_domain.is_empty() && id.to_string() == text).then_some(id).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_is_a_name() {
        let id = SpiffeId::new("edgeformer.local", TenantId::new(), DeviceId::new());
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        let text = id.to_string();
        for bad in [
            text.to_uppercase(),
            text.replace("spiffe", "https"),
            format!("{text}/"),
            text.replace("edgeformer.local", ""),
            text.replace("/device/", "/host/"),
            text.replace('-', ""),
            String::new(),
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
