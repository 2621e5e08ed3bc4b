//! The schema that policies are checked against: entities from a file that people read, actions from
//! the program's own list, so that no policy can name what cannot be asked.

use std::fmt::Write as _;
use std::sync::LazyLock;

use cedar_policy::Schema;

use super::action::{Action, Group};

const ENTITIES: &str = include_str!("../../policies/entities.cedarschema");

/// The schema as text.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = format!("{ENTITIES}\n// Groups of actions, and the actions.\n");
        for group in Group::IN_POLICIES {
            writeln!(text, "action \"{}\";", group.as_str()).expect("a string takes everything");
        }
        for action in in_policies() {
            writeln!(
                text,
                "action \"{}\" in [\"{}\"] appliesTo {{ principal: [User, ServiceAccount, Token], \
                 resource: [{}], context: Circumstances }};",
                action.as_str(),
                action.group().as_str(),
                action.about().as_str(),
            )
            .expect("a string takes everything");
        }
        text
    });
    &TEXT
}

/// The actions that policies decide on.
pub fn in_policies() -> impl Iterator<Item = Action> {
    let named = |action: &Action| Group::IN_POLICIES.contains(&action.group());
    Action::ALL.iter().copied().filter(named)
}

/// The schema.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        let (schema, warnings) =
            Schema::from_cedarschema_str(text()).expect("the schema is checked by a test");
        debug_assert_eq!(warnings.count(), 0);
        schema
    });
    &SCHEMA
}
