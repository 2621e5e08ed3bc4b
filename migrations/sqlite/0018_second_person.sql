-- Who stood behind a request or a signature when it was made, as JSON: what is revoked or removed later
-- makes nobody somebody else.
ALTER TABLE approvals ADD COLUMN requested_behind TEXT NOT NULL DEFAULT '[]';
ALTER TABLE approval_signatures ADD COLUMN signer_behind TEXT NOT NULL DEFAULT '[]';
-- Who made a rule: its programs are theirs. '' for rules that are older.
ALTER TABLE federation_rules ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
