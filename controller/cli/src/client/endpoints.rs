//! Every operation of the API that the command line uses: method, path, query parameters, types.
//! The table is what the drift test walks.

use std::marker::PhantomData;

use reqwest::Method;

use super::types::*;

/// No body.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

/// The body is a file's bytes.
#[derive(Debug, Clone, Copy)]
pub struct FileBody;

/// The answer is text or a file of any length, read as it comes.
#[derive(Debug, Clone, Copy)]
pub struct TextStream;

/// One operation. `Req` is the body that is sent, `Res` the body that comes back.
pub struct Endpoint<Req, Res> {
    pub method: Method,
    /// Below `/api/v1`, with `{parameters}`.
    pub path: &'static str,
    /// Query parameters that may be sent.
    pub query: &'static [&'static str],
    /// What is being done, for error messages: "could not {operation}".
    pub operation: &'static str,
    types: PhantomData<fn(Req) -> Res>,
}

macro_rules! endpoints {
    ($($name:ident: $method:ident $path:literal [$($query:literal),*]
        $req:ty => $res:ty, $operation:literal;)*) => {
        $(pub const $name: Endpoint<$req, $res> = Endpoint {
            method: Method::$method,
            path: $path,
            query: &[$($query),*],
            operation: $operation,
            types: PhantomData,
        };)*

        /// The table without types but with what the test needs to know of them.
        #[cfg(test)]
        pub fn table() -> Vec<super::drift::Row> {
            vec![$(super::drift::Row {
                method: stringify!($method),
                path: $path,
                query: &[$($query),*],
                request: <$req as super::drift::Body>::described(),
                response: <$res as super::drift::Body>::described(),
            }),*]
        }
    };
}

endpoints! {
    WHOAMI: GET "/whoami" [] Nothing => Whoami, "find out who the token belongs to";

    CREATE_TENANT: POST "/tenants" [] TenantCreate => TenantCreated, "create the tenant";
    LIST_TENANTS: GET "/tenants" ["limit", "cursor"] Nothing => Page<Tenant>, "list tenants";
    GET_TENANT: GET "/tenants/{id}" [] Nothing => TenantDetails, "read the tenant";
    SUSPEND_TENANT: POST "/tenants/{id}/suspend" []
        Suspension => TenantDetails, "suspend the tenant";
    RESUME_TENANT: POST "/tenants/{id}/resume" [] Nothing => TenantDetails, "resume the tenant";
    SET_QUOTA: PUT "/tenants/{id}/quota" [] Quota => TenantDetails, "set the quota";
    EXPORT_TENANT: GET "/tenants/{id}/export" [] Nothing => TextStream, "export the tenant";
    PREVIEW_DELETION: GET "/tenants/{id}/deletion-preview" []
        Nothing => DeletionPreview, "look at the deletion";
    DELETE_TENANT: POST "/tenants/{id}/delete" [] Deletion => TenantDetails, "delete the tenant";
    RESTORE_TENANT: POST "/tenants/{id}/restore" [] Nothing => TenantDetails, "restore the tenant";

    LOG_IN: POST "/login" [] LoginRequest => LoginAnswer, "log in";
    REFRESH: POST "/login/refresh" [] RefreshRequest => LoginAnswer, "go on with the login";
    SET_PASSWORD: POST "/login/password" [] PasswordRequest => PasswordAnswer, "set the password";
    LOGIN_PROVIDERS: GET "/login/providers" ["tenant"]
        Nothing => Whole<LoginProvider>, "find the tenant's identity provider";
    BEGIN_DEVICE_LOGIN: POST "/login/device" []
        DeviceLoginRequest => DeviceLoginAnswer, "begin the login";
    DEVICE_LOGIN: POST "/login/device/token" [] DeviceCode => LoginAnswer, "log in";
    EXCHANGE: POST "/token-exchange" []
        TokenExchangeRequest => TokenExchangeAnswer, "exchange the token";
    LOG_OUT: POST "/logout" [] Nothing => Nothing, "log out";
    LIST_LOG_INS: GET "/me/sessions" [] Nothing => Whole<LoginSession>, "list log-ins";
    END_LOG_IN: DELETE "/me/sessions/{id}" [] Nothing => Nothing, "end the log-in";
    CHANGE_PASSWORD: POST "/me/password" [] PasswordChange => Nothing, "change the password";
    BEGIN_TOTP: POST "/me/totp" [] PasswordAgain => TotpSecret, "begin a second factor";
    CONFIRM_TOTP: POST "/me/totp/confirm" [] TotpCode => RecoveryCodes, "confirm the code";
    REMOVE_TOTP: POST "/me/totp/remove" [] PasswordAgain => Nothing, "remove the second factor";

    CREATE_USER: POST "/users" [] UserCreate => UserCreated, "create the user";
    LIST_USERS: GET "/users" ["limit", "cursor"] Nothing => Page<User>, "list users";
    GET_USER: GET "/users/{id}" [] Nothing => User, "read the user";
    PATCH_USER: PATCH "/users/{id}" [] UserPatch => User, "change the user";
    INVITE_USER: POST "/users/{id}/invitation" [] Nothing => Invitation, "invite the user";
    UNLOCK_USER: POST "/users/{id}/unlock" [] Nothing => User, "unlock the user";
    SIGN_OUT_USER: POST "/users/{id}/sign-out" [] Nothing => SignedOut, "sign the user out";

    CREATE_TOKEN: POST "/tokens" [] TokenCreate => TokenCreated, "create the token";
    LIST_TOKENS: GET "/tokens" ["limit", "cursor"] Nothing => Page<ApiToken>, "list tokens";
    ROTATE_TOKEN: POST "/tokens/{id}/rotation" [] RotationCreate => Rotated, "rotate the token";
    ROTATE_OWN_TOKEN: POST "/me/token/rotation" [] RotationCreate => Rotated, "rotate the token";
    REVOKE_TOKEN: DELETE "/tokens/{id}" [] Nothing => Nothing, "revoke the token";

    CREATE_ACCOUNT: POST "/service-accounts" []
        NamedRoles => ServiceAccount, "create the service account";
    ADD_TRUST: POST "/service-accounts/{id}/trust" []
        TrustRuleRequest => TrustRule, "add the trust rule";
    LIST_TRUST: GET "/service-accounts/{id}/trust" []
        Nothing => Whole<TrustRule>, "list trust rules";
    REMOVE_TRUST: DELETE "/service-accounts/{id}/trust/{rule}" []
        Nothing => Nothing, "remove the trust rule";

    CREATE_PROVIDER: POST "/identity-providers" []
        IdentityProviderEdit => IdentityProvider, "connect the identity provider";
    LIST_PROVIDERS: GET "/identity-providers" []
        Nothing => Whole<IdentityProvider>, "list identity providers";
    GET_PROVIDER: GET "/identity-providers/{id}" []
        Nothing => IdentityProvider, "read the identity provider";
    PATCH_PROVIDER: PATCH "/identity-providers/{id}" []
        IdentityProviderEdit => IdentityProvider, "change the identity provider";
    DELETE_PROVIDER: DELETE "/identity-providers/{id}" []
        Nothing => Nothing, "remove the identity provider";
    CHECK_PROVIDER: POST "/identity-providers/{id}/check" []
        Nothing => IdentityProviderCheck, "ask the identity provider";

    LIST_ACCOUNTS: GET "/service-accounts" ["limit", "cursor"]
        Nothing => Page<ServiceAccount>, "list service accounts";
    GET_ACCOUNT: GET "/service-accounts/{id}" []
        Nothing => ServiceAccount, "read the service account";
    PATCH_ACCOUNT: PATCH "/service-accounts/{id}" []
        ServiceAccountPatch => ServiceAccount, "change the service account";
    CREATE_GROUP: POST "/groups" [] NamedRoles => Group, "create the group";
    LIST_GROUPS: GET "/groups" ["limit", "cursor"] Nothing => Page<Group>, "list groups";
    GET_GROUP: GET "/groups/{id}" [] Nothing => Group, "read the group";
    PATCH_GROUP: PATCH "/groups/{id}" [] GroupPatch => Group, "change the group";
    DELETE_GROUP: DELETE "/groups/{id}" [] Nothing => Nothing, "remove the group";
    LIST_MEMBERS: GET "/groups/{id}/members" ["limit", "cursor"]
        Nothing => Page<GroupMember>, "list the group's members";
    ADD_MEMBER: PUT "/groups/{id}/members/{user}" [] Nothing => Nothing, "put the user in";
    REMOVE_MEMBER: DELETE "/groups/{id}/members/{user}" [] Nothing => Nothing, "take the user out";

    CREATE_ENROLMENT_TOKEN: POST "/enrolment-tokens" []
        EnrolmentTokenCreate => EnrolmentTokenCreated, "create the enrolment token";
    LIST_ENROLMENT_TOKENS: GET "/enrolment-tokens" ["limit", "cursor"]
        Nothing => Page<EnrolmentToken>, "list enrolment tokens";
    REVOKE_ENROLMENT_TOKEN: DELETE "/enrolment-tokens/{id}" []
        Nothing => Nothing, "revoke the enrolment token";

    OPEN_DOOR: PUT "/enrolment/door" [] Nothing => EnrolmentDoor, "let devices ask";
    CLOSE_DOOR: DELETE "/enrolment/door" [] Nothing => Nothing, "let no device ask";
    LIST_REQUESTS: GET "/enrolment/requests" ["limit", "cursor"]
        Nothing => Page<EnrolmentRequest>, "list enrolment requests";
    APPROVE_REQUEST: POST "/enrolment/requests/{id}/approve" []
        EnrolmentApproval => EnrolmentRequest, "approve the request";
    REJECT_REQUEST: POST "/enrolment/requests/{id}/reject" []
        EnrolmentRejection => EnrolmentRequest, "reject the request";
    ADD_CLAIM_CA: POST "/claim-cas" [] ClaimCaRequest => ClaimCa, "add the claim CA";
    LIST_CLAIM_CAS: GET "/claim-cas" [] Nothing => Whole<ClaimCa>, "list claim CAs";
    REMOVE_CLAIM_CA: DELETE "/claim-cas/{id}" [] Nothing => Nothing, "remove the claim CA";
    REVOKE_SERIAL: POST "/claim-cas/{id}/revoke" []
        FactorySerial => ClaimCa, "revoke the factory certificate";
    RELEASE_SERIAL: POST "/claim-cas/{id}/release" []
        FactorySerial => ClaimCa, "release the factory certificate";

    TENANT_CA: GET "/ca" [] Nothing => Whole<Authority>, "read the certificate authorities";
    ROTATE_TENANT_CA: POST "/ca/rotate" []
        Nothing => Whole<Authority>, "replace the certificate authority";
    RETIRE_TENANT_CA: POST "/ca/{id}/retire" []
        Retirement => Whole<Authority>, "retire the certificate authority";
    INSTALLATION_CA: GET "/installation/ca" [] Nothing => Whole<Authority>, "read the roots";
    ROTATE_INSTALLATION_CA: POST "/installation/ca/rotate" []
        Nothing => Whole<Authority>, "replace the root";
    RETIRE_INSTALLATION_CA: POST "/installation/ca/{id}/retire" []
        Retirement => Whole<Authority>, "retire the root";

    LIST_DEVICES: GET "/devices" ["limit", "cursor", "label", "name"]
        Nothing => Page<Device>, "list devices";
    GET_DEVICE: GET "/devices/{id}" [] Nothing => Device, "read the device";
    PATCH_DEVICE: PATCH "/devices/{id}" [] DevicePatch => Device, "change the device";
    REVOKE_DEVICE: POST "/devices/{id}/revoke" [] Nothing => Device, "revoke the device";
    DECOMMISSION_DEVICE: POST "/devices/{id}/decommission" []
        DecommissionRequest => Device, "decommission the device";
    RELEASE_DEVICE: POST "/devices/{id}/release" [] Nothing => Device, "release the device";
    REPLACE_DEVICE: POST "/devices/{id}/replace" []
        ReplacementRequest => ReplacementCreated, "replace the device";

    LIST_MODELS: GET "/models" ["limit", "cursor"] Nothing => Page<Model>, "list models";
    LIST_VERSIONS: GET "/models/{name}/versions" ["limit", "cursor"]
        Nothing => Page<Version>, "list the model's versions";
    GET_VERSION: GET "/models/{name}/versions/{version}" []
        Nothing => Version, "read the version";
    VERSION_SIGNATURE: GET "/models/{name}/versions/{version}/signature" []
        Nothing => TextStream, "read the signature";
    VERSION_BOM: GET "/models/{name}/versions/{version}/bom" []
        Nothing => TextStream, "read the bill of materials";
    VERSION_CARD: GET "/models/{name}/versions/{version}/card" []
        Nothing => TextStream, "read what was said of the version";
    EXPORT_BUNDLE: GET "/models/{name}/versions/{version}/bundle" ["device"]
        Nothing => TextStream, "export the bundle";
    SIGNING_KEY: GET "/model-signing-key" [] Nothing => TextStream, "read the signing key";
    PUT_PAYLOAD: PUT "/models/{name}/versions/{version}/payload" []
        FileBody => Version, "publish the version";

    PREVIEW_ROLLOUT: POST "/rollouts/preview" []
        RolloutCreate => RolloutPreview, "preview the rollout";
    CREATE_ROLLOUT: POST "/rollouts" [] RolloutCreate => Rollout, "create the rollout";
    LIST_ROLLOUTS: GET "/rollouts" ["limit", "cursor", "state"]
        Nothing => Page<Rollout>, "list rollouts";
    GET_ROLLOUT: GET "/rollouts/{id}" [] Nothing => Rollout, "read the rollout";
    LIST_ROLLOUT_DEVICES: GET "/rollouts/{id}/devices" ["limit", "cursor"]
        Nothing => Page<RolloutDevice>, "list the rollout's devices";
    ABORT_ROLLOUT: POST "/rollouts/{id}/abort" [] Nothing => Rollout, "abort the rollout";
    ROLL_BACK: POST "/rollouts/{id}/rollback" [] Nothing => Rollout, "roll back";

    LIST_AUDIT: GET "/audit" ["limit", "cursor"] Nothing => Page<AuditRecord>, "read the audit log";
    EXPORT_AUDIT: GET "/audit/export" ["format", "from", "follow"]
        Nothing => TextStream, "export the audit log";
    TRUST: GET "/trust" [] Nothing => TrustRepository, "read the trust repository";
    TRUST_METADATA: GET "/trust/metadata/{name}" [] Nothing => TextStream, "read trust metadata";
    TRUST_PENDING: GET "/trust/pending" [] Nothing => TrustPending, "read what waits to be signed";
    TRUST_ONLINE_KEYS: GET "/trust/online-keys" []
        Nothing => Whole<TrustKey>, "read the controller's public keys";
    TRUST_ROTATE: POST "/trust/roots" []
        TrustRotation => TrustRepository, "upload who may sign";
    TRUST_RELEASE: POST "/trust/release" []
        TrustRelease => TrustRepository, "upload what is released";
    AUDIT_KEY: GET "/audit/key" [] Nothing => AuditKey, "read the key of the audit log";
    AUDIT_CHECKPOINT: GET "/audit/checkpoint" ["cosignatures"]
        Nothing => TextStream, "read the checkpoint";
    AUDIT_BUNDLE: GET "/audit/bundle" ["from", "to", "sealed", "cosignatures"]
        Nothing => TextStream, "export the bundle";
    PROVE_INCLUSION: GET "/audit/proofs/inclusion" ["sequence", "size"]
        Nothing => AuditProof, "prove the record";
    PROVE_CONSISTENCY: GET "/audit/proofs/consistency" ["first", "size"]
        Nothing => AuditProof, "prove that the log only grew";
    LIST_WITNESSES: GET "/audit/witnesses" [] Nothing => Whole<AuditWitness>, "list witnesses";
    GET_WITNESS: GET "/audit/witnesses/{id}" [] Nothing => AuditWitness, "read the witness";
    ADD_WITNESS: POST "/audit/witnesses" []
        AuditWitnessCreate => AuditWitness, "add the witness";
    MOVE_WITNESS: PATCH "/audit/witnesses/{id}" []
        AuditWitnessEdit => AuditWitness, "change the witness";
    REMOVE_WITNESS: DELETE "/audit/witnesses/{id}" [] Nothing => Nothing, "remove the witness";
    LIST_SINKS: GET "/audit/sinks" [] Nothing => Whole<AuditSink>, "list sinks";
    GET_SINK: GET "/audit/sinks/{id}" [] Nothing => AuditSink, "read the sink";
    ADD_SINK: POST "/audit/sinks" [] AuditSinkCreate => AuditSink, "add the sink";
    CHANGE_SINK: PATCH "/audit/sinks/{id}" [] AuditSinkEdit => AuditSink, "change the sink";
    REMOVE_SINK: DELETE "/audit/sinks/{id}" [] Nothing => Nothing, "remove the sink";
    AUDIT_STATUS: GET "/audit/status" [] Nothing => AuditStatus, "read the log's status";
    GET_RETENTION: GET "/audit/retention" [] Nothing => AuditRetention, "read the retention";
    PREVIEW_RETENTION: GET "/audit/retention/preview" ["keep_days"]
        Nothing => AuditRetentionPreview, "look at the retention";
    SET_RETENTION: PUT "/audit/retention" []
        AuditRetentionEdit => AuditRetention, "set the retention";
    HOLD_AUDIT: PUT "/audit/hold" [] LegalHoldCreate => AuditRetention, "set the legal hold";
    LIFT_HOLD: DELETE "/audit/hold" [] Nothing => AuditRetention, "lift the legal hold";
    INSTALLATION_AUDIT: GET "/installation/audit" ["limit", "cursor"]
        Nothing => Page<AuditRecord>, "list audit records";
    INSTALLATION_AUDIT_HEAD: GET "/installation/audit/head" []
        Nothing => AuditHead, "read the head of the audit log";
    INSTALLATION_AUDIT_STATUS: GET "/installation/audit/status" []
        Nothing => AuditStatus, "read the log's status";
    INSTALLATION_AUDIT_EXPORT: GET "/installation/audit/export" ["format", "from", "follow"]
        Nothing => TextStream, "export the audit log";
    INSTALLATION_AUDIT_KEY: GET "/installation/audit/key" []
        Nothing => AuditKey, "read the key of the audit log";
    INSTALLATION_AUDIT_CHECKPOINT: GET "/installation/audit/checkpoint" ["cosignatures"]
        Nothing => TextStream, "read the checkpoint";
    INSTALLATION_AUDIT_BUNDLE: GET "/installation/audit/bundle"
        ["from", "to", "sealed", "cosignatures"] Nothing => TextStream, "export the bundle";
    INSTALLATION_PROVE_INCLUSION: GET "/installation/audit/proofs/inclusion" ["sequence", "size"]
        Nothing => AuditProof, "prove the record";
    INSTALLATION_PROVE_CONSISTENCY: GET "/installation/audit/proofs/consistency"
        ["first", "size"] Nothing => AuditProof, "prove that the log only grew";
    PREVIEW_ERASURE: GET "/audit/erasures/preview" ["subject"]
        Nothing => Erasure, "look at the erasure";
    ERASE: POST "/audit/erasures" [] ErasureCreate => Erasure, "erase";
    AUDIT_HEAD: GET "/audit/head" [] Nothing => AuditHead, "read the head of the audit log";

    COMPLIANCE_REPORT: GET "/compliance/report" ["from", "to", "size"]
        Nothing => TextStream, "report";
    RELEASE_KEY: GET "/compliance/release-key" []
        Nothing => ReleaseKey, "read the release key";

    PRIVACY_SETTINGS: GET "/privacy/settings" []
        Nothing => PrivacySettings, "read the privacy settings";
    SET_PRIVACY_SETTINGS: PUT "/privacy/settings" []
        PrivacySettings => PrivacySettings, "change the privacy settings";
    PRIVACY_EXPORT: GET "/privacy/export" ["subject"] Nothing => TextStream, "export";

    LIST_APPROVALS: GET "/approvals" ["limit", "cursor", "state"]
        Nothing => Page<Approval>, "list approvals";
    GET_APPROVAL: GET "/approvals/{id}" [] Nothing => Approval, "read the approval";
    SIGN_APPROVAL: POST "/approvals/{id}/signatures" []
        SignatureCreate => Approval, "sign the approval";

    EXPLAIN: POST "/access/explain" [] AccessQuestion => AccessAnswer, "explain";
    ACCESS_WHO: GET "/access/who" ["action", "labels", "model", "devices"]
        Nothing => WhoMayList, "find out who may";
    LIST_ROLES: GET "/access/roles" [] Nothing => RoleList, "read the roles";
    ACCESS_SCHEMA: GET "/access/schema" [] Nothing => TextStream, "read the schema";
    TEST_POLICIES: POST "/access/test" [] PolicyTest => PolicyTestResult, "test the policies";
    ACCESS_SETTINGS: GET "/access/settings" [] Nothing => AccessSettings, "read the settings";
    SET_ACCESS_SETTINGS: PUT "/access/settings" []
        AccessSettingsEdit => AccessSettings, "change the time zone";
    LIST_POLICIES: GET "/access/policies" [] Nothing => PolicyList, "list policies";
    GET_POLICY: GET "/access/policies/{name}" [] Nothing => Policy, "read the policy";
    PUT_POLICY: PUT "/access/policies/{name}" [] PolicyEdit => Policy, "save the policy";
    DELETE_POLICY: DELETE "/access/policies/{name}" [] Nothing => Nothing, "remove the policy";

    TELEMETRY_SUMMARY: GET "/telemetry/summary" ["device_id", "since"]
        Nothing => Whole<TelemetrySummary>, "read the telemetry summary";
    TELEMETRY_POINTS: GET "/telemetry/points" ["limit", "cursor", "device_id", "metric"]
        Nothing => Page<TelemetryPoint>, "read telemetry points";
}
