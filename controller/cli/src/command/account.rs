//! People: accounts that admins look after, and one's own.

use std::path::Path;

use super::{Context, consent, edit, login};
use crate::args::access::Role;
use crate::args::account::{Account, SetPassword, User};
use crate::client::Client;
use crate::client::endpoints::{
    BEGIN_TOTP, CHANGE_PASSWORD, CONFIRM_TOTP, CREATE_USER, END_LOG_IN, GET_USER, INVITE_USER,
    LIST_LOG_INS, LIST_USERS, PATCH_USER, REMOVE_TOTP, SET_PASSWORD, SIGN_OUT_USER, UNLOCK_USER,
};
use crate::client::request::List;
use crate::client::types::{
    self, PasswordAgain, PasswordChange, PasswordRequest, TotpCode, UserCreate, UserPatch,
};
use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use crate::view;

/// Users looked through for one by name.
const LOOKED_THROUGH: u32 = 100_000;

pub fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}

pub async fn user(context: &Context, command: User) -> Result<Exit, Failure> {
    match command {
        User::Create { user_name, name, email, roles } => {
            let body = UserCreate { user_name, display_name: name, email, roles: names(&roles) };
            let made = context.client.call(&CREATE_USER).body(&body).send().await;
            let about = format!("user {:?}", body.user_name);
            let made = made.map_err(|e| Failure::from(e).about(&about))?;
            let url = context.client.url();
            context.screen.one(&made, |user| view::account::created(user, url));
        }
        User::List(limit) => {
            let users = context.client.call(&LIST_USERS).all(limit.limit).await?;
            context.screen.list(&users, |users| view::account::users(users, context.style()));
        }
        User::Roles { user, roles } => {
            let patch = UserPatch { active: None, roles: Some(names(&roles)) };
            change(context, &user, &patch).await?;
            let text = match roles.is_empty() {
                true => "no role".to_owned(),
                false => names(&roles).join(", "),
            };
            context.screen.say(&format!("{user} has {text} from now on."));
        }
        User::Disable { user, consent } => {
            let preview = format!(
                "{user} will not log in any more, and all log-ins end at once. Records stay; \
                 `edgeformer user enable` undoes it."
            );
            consent::ask(&context.screen, consent, &preview).await?;
            change(context, &user, &UserPatch { active: Some(false), roles: None }).await?;
            context.screen.say(&format!("{user} is disabled."));
        }
        User::Enable { user } => {
            change(context, &user, &UserPatch { active: Some(true), roles: None }).await?;
            context.screen.say(&format!("{user} may log in again."));
        }
        User::Invite { user } => {
            let id = resolve(context, &user).await?;
            let made = context.client.call(&INVITE_USER).path(&id).send().await?;
            context.screen.one(&made, |made| {
                let ends = view::human::relative(&made.expires_at, context.style().now);
                format!("{}   (shown only now; ends {ends})", made.invitation)
            });
        }
        User::Unlock { user } => {
            let id = resolve(context, &user).await?;
            context.client.call(&UNLOCK_USER).path(&id).send().await?;
            context.screen.say(&format!("{user} is not locked."));
        }
        User::SignOut { user, consent } => {
            let id = resolve(context, &user).await?;
            let preview = format!("All log-ins of {user} end at once; API tokens stay.");
            consent::ask(&context.screen, consent, &preview).await?;
            let done = context.client.call(&SIGN_OUT_USER).path(&id).send().await?;
            context.screen.one(&done, |done| format!("{} log-ins ended.", done.ended));
        }
    }
    Ok(Exit::Done)
}

/// The id of the user with this name or id.
pub async fn resolve(context: &Context, given: &str) -> Result<String, Failure> {
    if uuid::Uuid::try_parse(given).is_ok() {
        return Ok(given.to_owned());
    }
    let users = context.client.call(&LIST_USERS).all(LOOKED_THROUGH).await?;
    let folded = given.to_lowercase();
    let found = users.items.iter().find(|user| user.user_name == folded);
    found.map(|user| user.id.clone()).ok_or_else(|| {
        Failure::new(Exit::NotFoundOrDenied, format!("there is no user {given:?}"))
            .next("see them with `edgeformer user list`")
    })
}

async fn change(context: &Context, given: &str, patch: &UserPatch) -> Result<(), Failure> {
    let id = resolve(context, given).await?;
    edit::patch(context, (&GET_USER, &PATCH_USER), &id, patch, &format!("user {given:?}")).await
}

pub async fn account(context: &Context, command: Account) -> Result<Exit, Failure> {
    match command {
        Account::SetPassword(_) => {}
        Account::Password { current_file, password_file } => {
            let current_password = login::secret(current_file.as_deref(), "Password of now: ")?;
            let password = new_password(password_file.as_deref())?;
            let body = PasswordChange { current_password, password };
            context.client.call(&CHANGE_PASSWORD).body(&body).send().await?;
            context.screen.say("The password is changed; your other log-ins are over.");
        }
        Account::SecondFactor { remove, current_file } => {
            let current_password = login::secret(current_file.as_deref(), "Password: ")?;
            let body = PasswordAgain { current_password };
            if remove {
                context.client.call(&REMOVE_TOTP).body(&body).send().await?;
                context.screen.say("No code is asked for any more; recovery codes are gone.");
                return Ok(Exit::Done);
            }
            let made = context.client.call(&BEGIN_TOTP).body(&body).send().await?;
            context.screen.note(&view::account::factor(&made.value));
            let code = login::secret(None, "Code that the app shows: ")?;
            let code = TotpCode { code };
            let codes = context.client.call(&CONFIRM_TOTP).body(&code).send().await?;
            context.screen.one(&codes, view::account::recovery);
        }
        Account::LogIns => {
            let all: List<types::LoginSession> =
                List::whole(context.client.call(&LIST_LOG_INS).send().await?)?;
            context.screen.list(&all, |all| view::account::log_ins(all, context.style()));
        }
        Account::EndLogIn { id } => {
            let ended = context.client.call(&END_LOG_IN).path(&id).send().await;
            ended.map_err(|e| Failure::from(e).about(&format!("log-in {id}")))?;
            context.screen.say(&format!("Log-in {id} is over."));
        }
    }
    Ok(Exit::Done)
}

/// A new password; on a terminal it is asked for twice.
fn new_password(file: Option<&Path>) -> Result<String, Failure> {
    let first = login::secret(file, "New password: ")?;
    if file.is_none() && login::secret(None, "Once more: ")? != first {
        return Err(Failure::usage("the two are not the same; nothing was changed"));
    }
    Ok(first)
}

/// Sets a password with an invitation: nobody is logged in for that.
pub async fn set_password(
    client: &Client,
    screen: &Screen,
    args: &SetPassword,
) -> Result<Exit, Failure> {
    let invitation = login::secret(args.invitation_file.as_deref(), "Invitation (efi_…): ")?;
    let password = new_password(args.password_file.as_deref())?;
    let body = PasswordRequest { tenant: args.tenant.clone(), invitation, password };
    let done = client.call(&SET_PASSWORD).body(&body).send().await?;
    screen.one(&done, |done| {
        format!(
            "The password of {} is set. Log in with it:\n  edgeformer login --url {} --tenant {} \
             --user {}",
            done.user_name,
            client.url(),
            args.tenant,
            done.user_name
        )
    });
    Ok(Exit::Done)
}
