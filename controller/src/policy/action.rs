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
    /// Reading within the tenant, but for the audit log.
    Read,
    /// Reading the tenant's audit log.
    Audit,
    /// Changing within the tenant.
    Write,
    /// Changing who may do what in the tenant.
    Govern,
    /// On the installation itself.
    Installation,
    /// Devices and the controller's own components; never a person.
    Internal,
}

impl Group {
    /// Groups that policies name; the others are settled before a policy is asked.
    pub const IN_POLICIES: [Self; 5] =
        [Self::Read, Self::Audit, Self::Write, Self::Govern, Self::Installation];

    /// As policies call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Own => "own",
            Self::Read => "read",
            Self::Audit => "audit",
            Self::Write => "write",
            Self::Govern => "govern",
            Self::Installation => "installation",
            Self::Internal => "internal",
        }
    }
}

/// The kind of thing that policies get to see of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The tenant as a whole.
    Tenant,
    /// One device with its labels.
    Device,
    /// A rollout with its devices.
    Rollout,
    /// A version that is published.
    Version,
    /// An enrolment token with the labels that it gives.
    EnrolmentToken,
    /// The installation.
    Installation,
}

impl About {
    /// The entity type of policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::Device => "Device",
            Self::Rollout => "Rollout",
            Self::Version => "Version",
            Self::EnrolmentToken => "EnrolmentToken",
            Self::Installation => "Installation",
        }
    }
}

impl Action {
    /// What its policies see. Anything but the tenant or the installation is decided by the use-case,
    /// which knows the facts; the store refuses to commit it undecided.
    pub fn about(self) -> About {
        match self {
            Self::DeviceUpdate
            | Self::DeviceRevoke
            | Self::DeviceDecommission
            | Self::DeviceRelease
            | Self::DeviceReplace => About::Device,
            Self::RolloutCreate | Self::RolloutAbort | Self::RolloutRollback => About::Rollout,
            Self::VersionPublish => About::Version,
            Self::EnrolmentTokenCreate
            | Self::EnrolmentRequestApprove
            | Self::EnrolmentRequestReject
            | Self::ClaimCaCreate => About::EnrolmentToken,
            _ if self.group() == Group::Installation => About::Installation,
            _ => About::Tenant,
        }
    }

    /// Whether policies look at more than the tenant.
    pub fn is_specific(self) -> bool {
        !matches!(self.about(), About::Tenant | About::Installation)
    }
}

actions! {
    /// Asks who it is.
    Whoami = "self:read", Own;
    /// Makes a tenant.
    TenantCreate = "tenant:create", Installation;
    /// Lists tenants.
    TenantList = "tenant:list", Installation;
    /// Keeps a tenant's people and programs out.
    TenantSuspend = "tenant:suspend", Installation;
    /// Lets them in again.
    TenantResume = "tenant:resume", Installation;
    /// Takes everything of a tenant out, but for secrets.
    TenantExport = "tenant:export", Installation;
    /// Deletes a tenant; it is kept for a while.
    TenantDelete = "tenant:delete", Installation;
    /// Takes the deletion back.
    TenantRestore = "tenant:restore", Installation;
    /// Sets what a tenant may use.
    TenantQuotaUpdate = "tenant_quota:update", Installation;
    /// Looks at the installation's roots.
    InstallationCaRead = "installation_ca:read", Installation;
    /// Replaces the installation's root.
    InstallationCaRotate = "installation_ca:rotate", Installation;
    /// Ends the trust in a root that was replaced.
    InstallationCaRetire = "installation_ca:retire", Installation;
    /// Looks at the CAs that make the devices' certificates.
    TenantCaRead = "tenant_ca:read", Read;
    /// Replaces the CA that makes the devices' certificates.
    TenantCaRotate = "tenant_ca:rotate", Write;
    /// Ends what a CA signed that was replaced.
    TenantCaRetire = "tenant_ca:retire", Write;
    /// A deleted tenant's data was removed after its retention.
    TenantPurge = "tenant:purge", Internal;
    /// Logs in.
    SessionCreate = "session:create", Public;
    /// Goes on with a log-in.
    SessionRefresh = "session:refresh", Public;
    /// Exchanges another system's token for one of a service account.
    TokenExchange = "token:exchange", Public;
    /// Lets a waiting command line log in as oneself.
    SessionDelegate = "session:delegate", Public;
    /// A browser logs out.
    SessionEnd = "session:end", Public;
    /// An identity provider ends the log-ins that came from it.
    SessionProviderEnd = "session:provider_end", Public;
    /// Sets a password with an invitation.
    PasswordSet = "password:set", Public;
    /// Looks at its own log-ins and logs out.
    SelfSessions = "self:sessions", Own;
    /// Changes its own password.
    SelfPassword = "self:password", Own;
    /// Changes its own second factor.
    SelfTotp = "self:totp", Own;
    /// Gives its own token a new secret.
    SelfRotate = "self:rotate", Own;
    /// Makes a user.
    UserCreate = "user:create", Write;
    /// Lists and shows users.
    UserRead = "user:read", Read;
    /// Changes a user: name, roles, whether it may log in.
    UserUpdate = "user:update", Write;
    /// Removes a user.
    UserDelete = "user:delete", Write;
    /// Lets an identity provider look after its people and groups (SCIM).
    ScimProvision = "scim:provision", Write;
    /// Makes an invitation to set a new password.
    UserInvite = "user:invite", Write;
    /// Ends the lock after failed log-ins.
    UserUnlock = "user:unlock", Write;
    /// Ends all log-ins of a user.
    UserSignOut = "user:sign_out", Write;
    /// Makes a group.
    GroupCreate = "group:create", Write;
    /// Lists and shows groups with their members.
    GroupRead = "group:read", Read;
    /// Changes a group: name, roles, members.
    GroupUpdate = "group:update", Write;
    /// Removes a group.
    GroupDelete = "group:delete", Write;
    /// Makes a service account.
    ServiceAccountCreate = "service_account:create", Write;
    /// Lists and shows service accounts.
    ServiceAccountRead = "service_account:read", Read;
    /// Changes a service account: name, roles, whether it works.
    ServiceAccountUpdate = "service_account:update", Write;
    /// Lets another system's tokens stand for a service account.
    FederationRuleCreate = "federation_rule:create", Write;
    /// Takes that back.
    FederationRuleDelete = "federation_rule:delete", Write;
    /// Lists and shows identity providers.
    IdentityProviderRead = "identity_provider:read", Read;
    /// Makes an identity provider.
    IdentityProviderCreate = "identity_provider:create", Govern;
    /// Changes an identity provider.
    IdentityProviderUpdate = "identity_provider:update", Govern;
    /// Removes an identity provider; its log-ins end.
    IdentityProviderDelete = "identity_provider:delete", Govern;
    /// Makes an API token.
    TokenCreate = "token:create", Write;
    /// Lists API tokens.
    TokenList = "token:list", Write;
    /// Gives an API token a new secret.
    TokenRotate = "token:rotate", Write;
    /// Revokes an API token.
    TokenRevoke = "token:revoke", Write;
    /// Makes an enrolment token.
    EnrolmentTokenCreate = "enrolment_token:create", Write;
    /// Lists enrolment tokens.
    EnrolmentTokenList = "enrolment_token:list", Write;
    /// Revokes an enrolment token.
    EnrolmentTokenRevoke = "enrolment_token:revoke", Write;
    /// Says whether devices without a token may ask to be let in.
    EnrolmentDoorUpdate = "enrolment_door:update", Write;
    /// Looks at devices that ask.
    EnrolmentRequestRead = "enrolment_request:read", Read;
    /// Lets a device in that asks.
    EnrolmentRequestApprove = "enrolment_request:approve", Write;
    /// Keeps a device out that asks.
    EnrolmentRequestReject = "enrolment_request:reject", Write;
    /// A device asked to be let in.
    EnrolmentRequestCreate = "enrolment_request:create", Internal;
    /// Has a manufacturer's certificates let devices in.
    ClaimCaCreate = "claim_ca:create", Write;
    /// Looks at manufacturers whose certificates let devices in.
    ClaimCaRead = "claim_ca:read", Read;
    /// Keeps factory certificates out, or lets them in again.
    ClaimCaUpdate = "claim_ca:update", Write;
    /// Lets nobody in by a manufacturer any more.
    ClaimCaDelete = "claim_ca:delete", Write;
    /// Lists and shows devices.
    DeviceRead = "device:read", Read;
    /// Renames or relabels a device.
    DeviceUpdate = "device:update", Write;
    /// Cuts a device off.
    DeviceRevoke = "device:revoke", Write;
    /// Has a device erase its models and keys, and ends it.
    DeviceDecommission = "device:decommission", Write;
    /// Lets a quarantined device go on.
    DeviceRelease = "device:release", Write;
    /// Makes a token with which other hardware takes a device's place.
    DeviceReplace = "device:replace", Write;
    /// Lists and shows models and versions.
    ModelRead = "model:read", Read;
    /// Reads the trust repository: who signs, and what is released.
    TrustRead = "trust:read", Read;
    /// Says, with signatures of key holders, who may sign what is released.
    TrustRotate = "trust:rotate", Govern;
    /// Says, with signatures of key holders, what is released.
    TrustRelease = "trust:release", Write;
    /// The controller signed what is released.
    TrustSign = "trust:sign", Internal;
    /// Publishes a version.
    VersionPublish = "version:publish", Write;
    /// Takes a version out as a file for devices without a network, with the keys for them.
    BundleExport = "bundle:export", Write;
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
    AuditRead = "audit:read", Audit;
    /// Takes the audit log out, in another system's format.
    AuditExport = "audit:export", Audit;
    /// Looks at the witnesses of the audit log.
    AuditWitnessRead = "audit_witness:read", Audit;
    /// Has a witness cosign the audit log.
    AuditWitnessCreate = "audit_witness:create", Write;
    /// Changes where a witness is asked.
    AuditWitnessUpdate = "audit_witness:update", Write;
    /// Asks a witness no longer.
    AuditWitnessDelete = "audit_witness:delete", Write;
    /// A witness holds another history of the log.
    AuditWitnessContradict = "audit_witness:contradict", Internal;
    /// Reads the installation's own audit log.
    InstallationAuditRead = "installation_audit:read", Installation;
    /// Takes the installation's own audit log out.
    InstallationAuditExport = "installation_audit:export", Installation;
    /// The room for audit records ends.
    AuditCapacityWarn = "audit_capacity:warn", Internal;
    /// Looks at what is kept of the audit log.
    AuditRetentionRead = "audit_retention:read", Audit;
    /// Sets how long the texts of audit records are kept.
    AuditRetentionUpdate = "audit_retention:update", Govern;
    /// Texts of audit records were deleted: they are older than their log keeps them.
    AuditTextsDelete = "audit_texts:delete", Internal;
    /// Puts the audit log under legal hold.
    LegalHoldCreate = "legal_hold:create", Write;
    /// Lifts a legal hold.
    LegalHoldLift = "legal_hold:lift", Govern;
    /// Looks at the sinks of the audit log.
    AuditSinkRead = "audit_sink:read", Audit;
    /// Has the audit log streamed to a sink.
    AuditSinkCreate = "audit_sink:create", Write;
    /// Changes or stops a sink.
    AuditSinkUpdate = "audit_sink:update", Write;
    /// Removes a sink.
    AuditSinkDelete = "audit_sink:delete", Write;
    /// Reports which version ran where and when, who approved it, and what proves it.
    ComplianceReport = "compliance:report", Audit;
    /// Takes out everything that is held about one person or device.
    PrivacyExport = "privacy:export", Audit;
    /// Looks at how long data is kept.
    PrivacySettingsRead = "privacy_settings:read", Read;
    /// Changes how long data is kept, and what applications may send.
    PrivacySettingsUpdate = "privacy_settings:update", Write;
    /// Looks at what erasing a person takes.
    ErasurePreview = "erasure:preview", Audit;
    /// Erases a person from what stands beside the audit log.
    ErasureCreate = "erasure:create", Write;
    /// Looks at policies, roles and who may do what.
    PolicyRead = "policy:read", Read;
    /// Makes or changes a policy of the tenant.
    PolicyUpdate = "policy:update", Govern;
    /// Removes a policy of the tenant.
    PolicyDelete = "policy:delete", Govern;
    /// Changes what policies go by, such as the time zone.
    AccessSettingsUpdate = "access_settings:update", Govern;
    /// Asks for others' consent.
    ApprovalRequest = "approval:request", Internal;
    /// Looks at approvals.
    ApprovalRead = "approval:read", Read;
    /// Signs an approval.
    ApprovalSign = "approval:sign", Write;
    /// Reads telemetry.
    TelemetryRead = "telemetry:read", Read;
    /// Traded an enrolment token for a certificate.
    DeviceEnrol = "device:enrol", Internal;
    /// A device that is not let in tried.
    DeviceRefuse = "device:refuse", Internal;
    /// A device showed that it is two machines, and gets nothing until somebody looked.
    DeviceQuarantine = "device:quarantine", Internal;
    /// A device said what it erased of itself.
    DeviceErase = "device:erase", Internal;
    /// Renewed its certificate.
    DeviceRenew = "device:renew", Internal;
    /// The key that signs models for others to verify was made.
    ModelSigningKeyCreate = "model_signing_key:create", Internal;
    /// Was given the key of a version.
    DataKeyRelease = "data_key:release", Internal;
    /// A device's desired state was replaced.
    DesiredStateAssign = "desired_state:assign", Internal;
    /// A device reported what a slot serves, or how an update ended.
    DeploymentReport = "deployment:report", Internal;
    /// A rollout ended by itself.
    RolloutFinish = "rollout:finish", Internal;
    /// The installation was made.
    InstallationInit = "installation:init", Internal;
    /// A backup was taken.
    BackupCreate = "backup:create", Internal;
    /// A backup was restored.
    BackupRestore = "backup:restore", Internal;
}
