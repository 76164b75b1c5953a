//! Roles open prefixes of paths in whole segments, and nobody learns without a token which paths there are.

use reqwest::Method;

use crate::support::Server;

#[tokio::test]
async fn prefixes_match_whole_segments() {
    let server = Server::start().await;
    let (admin, user, nobody) = (server.admin().await, server.login("user").await, server.anonymous());
    for (path, for_admin, for_user, for_nobody) in [
        ("/api/containersx", 404, 403, 401),
        ("/api/containers-of-others", 404, 403, 401),
        ("/api/container", 404, 403, 401),
        ("/api/engines.old", 404, 403, 401),
        ("/api/cluster", 404, 403, 401),
        ("/api/cluster/information", 404, 403, 401),
        ("/api/cluster/info/more", 404, 404, 401),
        ("/api/events/old", 404, 404, 401),
        ("/api", 404, 403, 401),
        ("/api/", 400, 403, 401),
        ("/api/containers/", 400, 400, 401),
        ("/api/containers//start", 400, 400, 401),
        ("/api//containers", 400, 403, 401),
        // Percent signs hide nothing: what is written otherwise is another path.
        ("/api/%61ccounts", 404, 403, 401),
        ("/api/containers%2f..%2faccounts", 404, 403, 401),
        ("/api/containers/..%2faccounts", 404, 404, 401),
        ("/account", 404, 404, 401),
        ("/account/nothing", 404, 404, 401),
        ("/accounts", 404, 404, 404),
        ("/apis/containers", 404, 404, 404),
        ("/API/accounts", 404, 404, 404),
        ("/", 404, 404, 404),
        ("/favicon.ico", 404, 404, 404),
        ("/healthz/more", 404, 404, 404),
    ] {
        let answers = [(&admin, for_admin), (&user, for_user), (&nobody, for_nobody)];
        for (number, (api, expected)) in answers.into_iter().enumerate() {
            let answer = api.get(path).await;
            assert_eq!(answer.status, expected, "{path} for number {number}: {answer:?}");
            let code = match (expected, path) {
                (400, _) => "invalid_request",
                (401, _) => "unauthenticated",
                (403, _) => "forbidden",
                (_, "/api/containers/..%2faccounts") => "container_not_found",
                _ => "route_not_found",
            };
            answer.is_problem(expected, code);
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_told_with_those_it_has() {
    let server = Server::start().await;
    let (admin, nobody) = (server.admin().await, server.anonymous());
    for (method, path, allow) in [
        (Method::PUT, "/api/containers", "GET, HEAD, POST"),
        (Method::DELETE, "/api/engines", "GET, HEAD, POST"),
        (Method::POST, "/api/cluster/info", "GET, HEAD"),
        (Method::OPTIONS, "/api/containers/x/start", "GET, POST"),
        (Method::GET, "/api/images/pull", "POST"),
        (Method::PATCH, "/account/logout", "POST"),
    ] {
        let answer = admin.send(method.clone(), path).await;
        answer.is_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        nobody.send(method, path).await.is_problem(401, "unauthenticated");
    }
    nobody.get("/auth/login").await.is_problem(405, "method_not_allowed");
    assert_eq!(nobody.send(Method::HEAD, "/healthz").await.status, 200);
}

#[tokio::test]
async fn looking_at_the_head_of_a_change_changes_nothing() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let id = &server.run("web", 1).await[0];
    for change in ["stop", "restart", "start", "scale?count=3"] {
        let before = server.state().await;
        let answer = admin.send(Method::HEAD, &format!("/api/containers/{id}/{change}")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"), "{change}");
        assert_eq!(server.state().await, before, "{change}");
    }
    assert_eq!(admin.send(Method::HEAD, &format!("/api/containers/{id}")).await.status, 200);
}
