-- What an identity provider says of a person, as JSON: '' for accounts made otherwise.
ALTER TABLE users ADD COLUMN profile TEXT NOT NULL DEFAULT '';
-- When an identity provider changed it last; 0 if it did not.
ALTER TABLE users ADD COLUMN modified_at_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN modified_at_us BIGINT NOT NULL DEFAULT 0;
