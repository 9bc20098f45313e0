//! `hull login`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::registry::{AuthConfig, AuthResponse, Secret};
use hyper::Method;

use crate::app::Context;
use crate::client::{ApiError, Client, full};
use crate::credentials::{RegistryKey, Saved, Store, Wanted};
use crate::progress::{Subject, advice};
use crate::signals::Signals;
use crate::{options, out, prompt, registry, terminal};

pub(crate) fn command() -> Command {
    Command::new("login").about("Authenticate to a registry").args([
        options::value("password", Some('p'), "PASSWORD", "Password or access token"),
        options::switch("password-stdin", None, "Take the password or access token from stdin"),
        options::value("username", Some('u'), "NAME", "Username"),
        Arg::new("server").value_name("SERVER").num_args(0..=1),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let given = Given::new(&matches)?;
    let registry = server(options::text(&matches, "server"))?;
    let store = registry::store()?;
    let client = context.client();
    let again = match given {
        Given { username: None, password: None } => login_again(client, &store, &registry).await?,
        _ => None,
    };
    let answer = match again {
        Some(answer) => answer,
        None => {
            let (auth, answer) = login(client, &store, &registry, given).await?;
            keep(&store, &registry, auth, &answer)?;
            answer
        }
    };
    let status = if answer.status.is_empty() { "Login Succeeded" } else { &answer.status };
    out::line(&crate::screen::clean(status));
    Ok(ExitCode::SUCCESS)
}

/// What the command line says of who logs in.
struct Given {
    username: Option<String>,
    password: Option<String>,
}

impl Given {
    fn new(matches: &ArgMatches) -> Result<Self> {
        let owned = |name| options::text(matches, name).map(str::to_owned);
        let (username, mut password) = (owned("username"), owned("password"));
        let from_stdin = options::is_set(matches, "password-stdin");
        if password.is_some() && from_stdin {
            bail!("conflicting options: cannot specify both --password and --password-stdin");
        }
        if username.as_deref() == Some("") {
            bail!("username is empty");
        }
        if from_stdin && username.is_none() {
            bail!("the --password-stdin option requires --username to be set");
        }
        if from_stdin {
            password = Some(prompt::all_of_stdin()?);
        }
        if password.as_deref() == Some("") {
            bail!("password is empty");
        }
        if password.is_some() && !from_stdin {
            out::error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        Ok(Self { username, password })
    }
}

/// The registry that the user names; Docker Hub where none is.
pub(super) fn server(text: Option<&str>) -> Result<RegistryKey> {
    match text {
        None | Some("") => Ok(RegistryKey::hub()),
        Some(text) => match RegistryKey::parse(text) {
            Some(registry) => Ok(registry),
            None => bail!("{text:?} is no registry: a host is expected, and perhaps a port"),
        },
    }
}

/// Tries what is stored; `None` where nothing is, or where it is not valid any more and somebody
/// can be asked.
async fn login_again(
    client: &Client,
    store: &Store,
    registry: &RegistryKey,
) -> Result<Option<AuthResponse>> {
    let stored = match store.find(&Wanted::registry(registry.clone())) {
        Ok(stored) => stored.filter(|auth| !auth.username.is_empty() && !auth.password.is_empty()),
        Err(error) => {
            out::error(&format!("WARNING: no credentials for {registry}: {error:#}"));
            None
        }
    };
    let Some(auth) = stored else { return Ok(None) };
    out::error(&format!(
        "Authenticating with existing credentials... [Username: {}]",
        crate::screen::clean(&auth.username)
    ));
    match check(client, registry, &auth).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error.downcast_ref().is_some_and(ApiError::is_unauthorized)
                && terminal::stdin_is_terminal() =>
        {
            out::error("The stored credentials are not valid any more");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Logs in as who is given; asks for what is not.
async fn login(
    client: &Client,
    store: &Store,
    registry: &RegistryKey,
    given: Given,
) -> Result<(AuthConfig, AuthResponse)> {
    let complete = given.username.is_some() && given.password.is_some();
    if !complete && !terminal::stdin_is_terminal() {
        let message = "Cannot perform an interactive login from a non TTY device".to_owned();
        let hint = Some("give the name with --username and the password with --password-stdin");
        let hint = hint.map(str::to_owned);
        return Err(ApiError { status: 0, message, hint, kind: None }.into());
    }
    let signals = Signals::take()?;
    let username = match given.username {
        Some(name) => name,
        None => ask_name(store, registry, &signals).await?,
    };
    let password = match given.password {
        Some(password) => password,
        None => prompt::secret("Password: ", &signals).await?,
    };
    if password.is_empty() {
        bail!("password is required");
    }
    let serveraddress = registry.server_address().to_owned();
    let password = Secret::new(password);
    let auth = AuthConfig { username, password, serveraddress, ..AuthConfig::default() };
    let answer = signals.unless(check(client, registry, &auth)).await?;
    Ok((auth, answer))
}

/// Asks for the name; the one that was used last is offered.
async fn ask_name(store: &Store, registry: &RegistryKey, signals: &Signals) -> Result<String> {
    let last = store.find(&Wanted::registry(registry.clone())).ok().flatten();
    let last = last.map(|auth| auth.username).unwrap_or_default();
    let question = match last.as_str() {
        "" => "Username: ".to_owned(),
        last => format!("Username ({}): ", crate::screen::clean(last)),
    };
    match prompt::line(&question, signals).await? {
        name if !name.is_empty() => Ok(name),
        _ if !last.is_empty() => Ok(last),
        _ => bail!("username is required"),
    }
}

/// Asks the registry, through the engine, whether the credentials are right.
async fn check(client: &Client, registry: &RegistryKey, auth: &AuthConfig) -> Result<AuthResponse> {
    let body = full(serde_json::to_vec(auth)?);
    let sent = client.send(Method::POST, "/auth", Some("application/json"), body).await;
    let response = sent.map_err(|error| match error.downcast::<ApiError>() {
        Ok(refusal) => {
            let subject = Subject { registry: &registry.to_string(), logged_in: false };
            // Advice to log in is of no use to who does.
            let hint = if refusal.is_unauthorized() {
                Some("is the name or the password misspelt?".to_owned())
            } else {
                refusal.hint.clone().or_else(|| advice(&refusal.message, subject))
            };
            ApiError { hint, ..refusal }.into()
        }
        Err(error) => error,
    })?;
    let bytes = response.into_body().collect().await?.to_bytes();
    if bytes.trim_ascii().is_empty() {
        return Ok(AuthResponse::default());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// Keeps what will be used from now on: the identity token instead of the password, if there is one.
fn keep(
    store: &Store,
    registry: &RegistryKey,
    auth: AuthConfig,
    answer: &AuthResponse,
) -> Result<()> {
    let auth = if answer.identity_token.is_empty() {
        auth
    } else {
        let identitytoken = answer.identity_token.clone();
        AuthConfig { password: Secret::default(), identitytoken, ..auth }
    };
    if let Saved::File(path) = store.save(registry, &auth)? {
        out::error(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential \
             helper to remove this warning: \"credsStore\" in that file names one.\n",
            path.display()
        ));
    }
    if store.is_overridden(&Wanted::registry(registry.clone())) {
        out::error("WARNING: DOCKER_AUTH_CONFIG is set and has other credentials, which are used");
    }
    Ok(())
}
