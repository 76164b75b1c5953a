//! Every route in one table: who may use it and what it does. The middleware decides by this table, and `routes` mounts a
//! handler for each row; the table itself knows no handlers.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Every account, whatever its role.
    AnyAccount,
    /// Accounts whose role opens the path.
    ByRole,
    /// Hosts with a join token, and nobody else.
    ByJoinToken,
}

/// What a route does to the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only looks.
    Reads,
    /// It changes something, so it is never done for a HEAD.
    Changes,
}

/// An operation that takes as long as the hosts take, and can stream its progress meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongOperation {
    /// Containers are started.
    Run,
    /// A group is made larger or smaller.
    Scale,
    /// An image is pulled.
    Pull,
    /// A command is run, which is never done again by itself: nobody knows what it does.
    Command,
}

/// One row of the route table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it does to the platform.
    pub effect: Effect,
    /// The operation that it begins, where that has no deadline.
    pub operation: Option<LongOperation>,
    /// Whether it takes as much longer as a container is given to stop, which is its parameter `timeout`.
    pub waits_for_stop: bool,
    /// Whether it does no harm when it is done twice, so that an operator may ask for it on a full disk.
    pub is_harmless: bool,
    /// Whether it is for admins, although other roles open its path.
    pub admins_only: bool,
}

impl Route {
    const fn new(method: Method, path: &'static str, access: Access, effect: Effect) -> Self {
        Self {
            method,
            path,
            access,
            effect,
            operation: None,
            waits_for_stop: false,
            is_harmless: false,
            admins_only: false,
        }
    }

    const fn begins(mut self, operation: LongOperation) -> Self {
        self.operation = Some(operation);
        self
    }

    const fn waits_for_stop(mut self) -> Self {
        self.waits_for_stop = true;
        self
    }

    const fn harmless(mut self) -> Self {
        self.is_harmless = true;
        self
    }

    const fn admins_only(mut self) -> Self {
        self.admins_only = true;
        self
    }

    /// The row that a request is for. None for a HEAD, and where there is no such route.
    pub(crate) fn of(request: &Request) -> Option<&'static Self> {
        let matched = request.extensions().get::<MatchedPath>()?;
        routes_of(matched.as_str()).find(|route| route.method == *request.method())
    }
}

/// Hands every row to the macro `$each`: here it becomes data, in `routes` a handler behind a path. So there is one table, and
/// nothing can be reached that is not in it. Behind the handler stands what most routes are not.
#[rustfmt::skip]
macro_rules! each_route {
($each:ident) => { $each! {
    POST   "/auth/login"                  Public     Changes  auth::login;
    POST   "/account/logout"              AnyAccount Changes  auth::logout;
    POST   "/account/passwdchange"        AnyAccount Changes  auth::change_password;

    GET    "/api/account"                 ByRole     Reads    accounts::list;
    POST   "/api/account"                 ByRole     Changes  accounts::add;
    DELETE "/api/account"                 ByRole     Changes  accounts::delete_by_body;
    GET    "/api/accounts"                ByRole     Reads    accounts::list;
    POST   "/api/accounts"                ByRole     Changes  accounts::add;
    GET    "/api/accounts/{name}"         ByRole     Reads    accounts::show;
    DELETE "/api/accounts/{name}"         ByRole     Changes  accounts::delete;

    GET    "/api/engines"                 ByRole     Reads    engines::list;
    POST   "/api/engines"                 ByRole     Changes  engines::add;
    GET    "/api/engines/{id}"            ByRole     Reads    engines::show;
    DELETE "/api/engines/{id}"            ByRole     Changes  engines::delete;
    POST   "/api/engines/{id}/drain"      ByRole     Changes  engines::drain;
    POST   "/api/engines/{id}/undrain"    ByRole     Changes  engines::undrain;
    POST   "/api/engines/{id}/lost"       ByRole     Changes  engines::lost, admins_only();

    GET    "/api/join-tokens"             ByRole     Reads    join::list;
    POST   "/api/join-tokens"             ByRole     Changes  join::make;
    DELETE "/api/join-tokens/{id}"        ByRole     Changes  join::delete;

    GET    "/api/registry-logins"         ByRole     Reads    registry_logins::list;
    POST   "/api/registry-logins"         ByRole     Changes  registry_logins::set;
    DELETE "/api/registry-logins/{server}" ByRole    Changes  registry_logins::delete;

    POST   "/join/engines/{id}"           ByJoinToken Changes join::heartbeat;
    DELETE "/join/engines/{id}"           ByJoinToken Changes join::deregister;

    GET    "/api/cluster/info"            ByRole     Reads    cluster::info;

    GET    "/api/events"                  ByRole     Reads    events::newest;
    GET    "/api/events/live"             ByRole     Reads    events::live;

    GET    "/api/containers"              ByRole     Reads    containers::list;
    POST   "/api/containers"              ByRole     Changes  containers::run, begins(Run);
    GET    "/api/containers/{id}"         ByRole     Reads    containers::show;
    DELETE "/api/containers/{id}"         ByRole     Changes  containers::destroy, harmless();
    GET    "/api/containers/{id}/start"   ByRole     Changes  containers::start, harmless();
    POST   "/api/containers/{id}/start"   ByRole     Changes  containers::start, harmless();
    GET    "/api/containers/{id}/stop"    ByRole     Changes  containers::stop, harmless(), waits_for_stop();
    POST   "/api/containers/{id}/stop"    ByRole     Changes  containers::stop, harmless(), waits_for_stop();
    GET    "/api/containers/{id}/restart" ByRole     Changes  containers::restart, waits_for_stop();
    POST   "/api/containers/{id}/restart" ByRole     Changes  containers::restart, waits_for_stop();
    GET    "/api/containers/{id}/scale"   ByRole     Changes  containers::scale, begins(Scale);
    POST   "/api/containers/{id}/scale"   ByRole     Changes  containers::scale, begins(Scale);
    GET    "/api/containers/{id}/logs"    ByRole     Reads    containers::logs;

    GET    "/api/apps"                    ByRole     Reads    apps::list;
    GET    "/api/apps/{app}"              ByRole     Reads    apps::show;
    PUT    "/api/apps/{app}"              ByRole     Changes  apps::apply;
    DELETE "/api/apps/{app}"              ByRole     Changes  apps::destroy;
    POST   "/api/apps/{app}/plan"         ByRole     Reads    apps::plan;
    GET    "/api/apps/{app}/revisions"    ByRole     Reads    apps::revisions;
    GET    "/api/apps/{app}/revisions/{n}" ByRole    Reads    apps::revision;
    GET    "/api/apps/{app}/diff"         ByRole     Reads    apps::diff;
    POST   "/api/apps/{app}/rollback"     ByRole     Changes  apps::rollback;
    POST   "/api/apps/{app}/scale"        ByRole     Changes  apps::scale;
    POST   "/api/apps/{app}/restart"      ByRole     Changes  apps::restart;
    POST   "/api/apps/{app}/stop"         ByRole     Changes  apps::stop;
    POST   "/api/apps/{app}/start"        ByRole     Changes  apps::start;
    GET    "/api/apps/{app}/rollout"      ByRole     Reads    apps::rollout;
    GET    "/api/apps/{app}/logs"         ByRole     Reads    apps::logs;
    POST   "/api/apps/{app}/exec"         ByRole     Changes  commands::exec, begins(Command);
    POST   "/api/apps/{app}/run"          ByRole     Changes  commands::run, begins(Command);
    PUT    "/api/apps/{app}/blobs/{sha256}" ByRole   Changes  blobs::put;
    GET    "/api/apps/{app}/secrets"      ByRole     Reads    secrets::list;
    PUT    "/api/apps/{app}/secrets/{name}" ByRole   Changes  secrets::set;
    DELETE "/api/apps/{app}/secrets/{name}" ByRole   Changes  secrets::delete;

    POST   "/api/reconcile/heal"          ByRole     Changes  reconcile::heal, admins_only();
    GET    "/api/reconcile/plan"          ByRole     Reads    reconcile::plan, admins_only();
    POST   "/api/reconcile/rebalance"     ByRole     Changes  reconcile::rebalance, admins_only();
    POST   "/api/reconcile/resume"        ByRole     Changes  reconcile::resume, admins_only();

    POST   "/api/images/pull"             ByRole     Changes  images::pull, begins(Pull);

    GET    "/healthz"                     Public     Reads    health::healthz;
} };
}
pub(crate) use each_route;

macro_rules! table {
    ($($method:ident $path:literal $access:ident $effect:ident $handler:path $(, $fact:ident($($operation:ident)?))*;)*) => {
        /// Every route.
        pub const ROUTES: &[Route] = &[$(
            Route::new(Method::$method, $path, Access::$access, Effect::$effect)
                $(.$fact($(LongOperation::$operation)?))*
        ),*];
    };
}
each_route!(table);

/// The routes of a path of the table.
pub(crate) fn routes_of(path: &str) -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(move |route| route.path == path)
}

/// Who may know about a path that is not in the table: below the prefixes of the API nobody learns without a token
/// which paths there are.
pub(crate) fn access_of_unknown(path: &str) -> Access {
    match path.split('/').nth(1) {
        Some("api") => Access::ByRole,
        Some("account") => Access::AnyAccount,
        Some("join") => Access::ByJoinToken,
        _ => Access::Public,
    }
}

/// The methods that a path of the table has. HEAD belongs to those GETs that only look.
pub(crate) fn methods_of(path: &str) -> Vec<Method> {
    let mut methods = Vec::new();
    for route in routes_of(path) {
        methods.push(route.method.clone());
        if route.method == Method::GET && route.effect == Effect::Reads {
            methods.push(Method::HEAD);
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_methods_of_a_path_are_open_to_the_same_people() {
        for route in ROUTES {
            assert!(routes_of(route.path).all(|other| other.access == route.access), "{}", route.path);
        }
    }

    #[test]
    fn what_is_not_open_to_everybody_lies_below_the_guarded_prefixes() {
        for route in ROUTES {
            assert_eq!(access_of_unknown(route.path), route.access, "{}", route.path);
        }
    }

    #[test]
    fn whatever_changes_something_answers_to_another_method_than_get() {
        for route in ROUTES.iter().filter(|route| route.method == Method::GET && route.effect == Effect::Changes) {
            assert!(routes_of(route.path).any(|other| other.method == Method::POST), "{}", route.path);
        }
    }

    #[test]
    fn the_documentation_has_every_route() {
        let documentation = include_str!("../../docs/api.md");
        for route in ROUTES {
            let has = |row: &str| {
                let mut cells = row.split('|').map(str::trim).skip(1);
                let methods = cells.next().unwrap_or_default();
                let paths = cells.next().unwrap_or_default();
                methods.split(", ").any(|method| method == route.method.as_str())
                    && paths.split(", ").any(|path| path == format!("`{}`", route.path))
            };
            assert!(documentation.lines().any(has), "{} {} is not in docs/api.md", route.method, route.path);
        }
    }
}
