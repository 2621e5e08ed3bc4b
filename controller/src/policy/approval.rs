//! What others consented to, compared with what is about to be done.

use edgeformer_proto::ids::ApprovalId;

use super::facts::Facts;

/// A consent that a request brings with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The approval.
    pub id: ApprovalId,
    /// How many others approved.
    pub count: u32,
    /// What they saw.
    pub facts: Facts,
}

impl Approved {
    /// Whether `now` is no more than what was approved; else in which way it is.
    pub fn covers(&self, now: &Facts) -> Result<(), String> {
        match (&self.facts, now) {
            (
                Facts::Rollout { model, version, slot, devices, labels },
                Facts::Rollout {
                    model: model_now,
                    version: version_now,
                    slot: slot_now,
                    devices: devices_now,
                    labels: labels_now,
                },
            ) => {
                if (model, version, slot) != (model_now, version_now, slot_now) {
                    return Err(format!("it was for {model} {version} in slot {slot}"));
                }
                if devices_now > devices {
                    return Err(format!(
                        "it was for {devices} devices, now they are {devices_now}"
                    ));
                }
                match labels.iter().find(|(key, value)| labels_now.get(*key) != Some(value)) {
                    None => Ok(()),
                    Some((key, value)) => {
                        Err(format!("it was for devices that all have {key}={value}"))
                    }
                }
            }
            (
                Facts::EnrolmentToken { uses, labels, .. },
                Facts::EnrolmentToken { uses: uses_now, labels: labels_now, .. },
            ) if uses_now <= uses && labels == labels_now => Ok(()),
            (approved, now) if approved == now => Ok(()),
            (approved, _) => Err(format!("it was for {} as it was then", approved.describe())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Labels;
    use super::*;

    fn rollout(version: &str, devices: u64, site: Option<&str>) -> Facts {
        let labels: Labels =
            site.map(|site| ("site".to_owned(), site.to_owned())).into_iter().collect();
        let (model, slot) = ("m".to_owned(), "m".to_owned());
        Facts::Rollout { model, version: version.to_owned(), slot, devices, labels }
    }

    #[test]
    fn less_than_what_was_approved_is_covered_and_more_is_not() {
        let facts = rollout("1.0.0", 100, Some("berlin"));
        let approved = Approved { id: ApprovalId::new(), count: 1, facts };
        assert!(approved.covers(&rollout("1.0.0", 100, Some("berlin"))).is_ok());
        assert!(approved.covers(&rollout("1.0.0", 90, Some("berlin"))).is_ok());
        let fails = |now: Facts, with: &str| {
            let error = approved.covers(&now).unwrap_err();
            assert!(error.contains(with), "{error}");
        };
        fails(rollout("1.0.0", 101, Some("berlin")), "now they are 101");
        fails(rollout("1.1.0", 100, Some("berlin")), "1.0.0");
        fails(rollout("1.0.0", 100, None), "site=berlin");
        fails(Facts::Tenant, "a rollout on 100 devices");
    }
}
