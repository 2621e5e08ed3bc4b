//! Everything that can be asked of the controller, named once. A route without an action cannot be
//! added, and an action without a group does not compile.

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $group:ident;)*) => {
        /// Everything that can be asked of the controller. The text is what the audit log and the
        /// OpenAPI document call it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `kind:verb`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who may.
            pub fn group(self) -> Group {
                match self { $(Self::$name => Group::$group,)* }
            }

            /// The action of this text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|action| action.as_str() == text)
            }
        }
    };
}

/// Actions are granted in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Anybody, before they are known: log-in and what belongs to it.
    Public,
    /// Any authenticated principal, about itself.
    Own,
    /// Reading within the tenant: viewer and admin.
    Read,
    /// Changing within the tenant: admin.
    Write,
    /// The installation's tokens only.
    Installation,
    /// Devices and the controller's own components; never a person.
    Internal,
}

actions! {
    /// Asks who it is.
    Whoami = "self:read", Own;
    /// Makes a tenant.
    TenantCreate = "tenant:create", Installation;
    /// Lists tenants.
    TenantList = "tenant:list", Installation;
    /// Makes an API token.
    TokenCreate = "token:create", Write;
    /// Lists API tokens.
    TokenList = "token:list", Write;
    /// Revokes an API token.
    TokenRevoke = "token:revoke", Write;
    /// Makes an enrolment token.
    EnrolmentTokenCreate = "enrolment_token:create", Write;
    /// Lists enrolment tokens.
    EnrolmentTokenList = "enrolment_token:list", Write;
    /// Revokes an enrolment token.
    EnrolmentTokenRevoke = "enrolment_token:revoke", Write;
    /// Lists and shows devices.
    DeviceRead = "device:read", Read;
    /// Renames or relabels a device.
    DeviceUpdate = "device:update", Write;
    /// Cuts a device off.
    DeviceRevoke = "device:revoke", Write;
    /// Lists and shows models and versions.
    ModelRead = "model:read", Read;
    /// Publishes a version.
    VersionPublish = "version:publish", Write;
    /// Asks what a rollout would do.
    RolloutPreview = "rollout:preview", Read;
    /// Lists and shows rollouts.
    RolloutRead = "rollout:read", Read;
    /// Starts a rollout.
    RolloutCreate = "rollout:create", Write;
    /// Stops a rollout.
    RolloutAbort = "rollout:abort", Write;
    /// Starts a rollout that undoes another.
    RolloutRollback = "rollout:rollback", Write;
    /// Reads the audit log.
    AuditRead = "audit:read", Read;
    /// Takes the audit log out, in another system's format.
    AuditExport = "audit:export", Read;
    /// Looks at what erasing a person takes.
    ErasurePreview = "erasure:preview", Read;
    /// Erases a person from what stands beside the audit log.
    ErasureCreate = "erasure:create", Write;
    /// Reads telemetry.
    TelemetryRead = "telemetry:read", Read;
    /// Traded an enrolment token for a certificate.
    DeviceEnrol = "device:enrol", Internal;
    /// Renewed its certificate.
    DeviceRenew = "device:renew", Internal;
    /// Was given the key of a version.
    DataKeyRelease = "data_key:release", Internal;
    /// A device's desired state was replaced.
    DesiredStateAssign = "desired_state:assign", Internal;
    /// A rollout ended by itself.
    RolloutFinish = "rollout:finish", Internal;
    /// The installation was made.
    InstallationInit = "installation:init", Internal;
    /// A backup was taken.
    BackupCreate = "backup:create", Internal;
    /// A backup was restored.
    BackupRestore = "backup:restore", Internal;
}
