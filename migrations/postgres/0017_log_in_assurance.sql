-- What the identity provider says of how somebody logged in there, as JSON: acr and amr.
ALTER TABLE login_sessions ADD COLUMN assurance TEXT NOT NULL DEFAULT '{}';
