//! Compose files: imported, and applied as they are.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Answer, Done, Home, Server, finish};

const FILE: &str = "\
services:
  web:
    image: shop:${VERSION:-1.8}
    container_name: shop
    ports: ['8080:80']
    environment:
      FROM: ${FROM_DOTENV} ${FROM_ENVIRONMENT} ${PRICE:-5$$}
    env_file: web.env
";

fn plan() -> Answer {
    Answer::json(r#"{"app": "shop", "base": 3, "changes": [], "steps": []}"#)
}

/// A folder called `shop`.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.folder()).unwrap();
        for (name, text) in files {
            std::fs::write(place.folder().join(name), text).unwrap();
        }
        place
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("shop")
    }

    async fn run(&self, home: &Home, arguments: &[&str]) -> Done {
        let mut command = home.command(arguments);
        command.current_dir(self.folder()).env("FROM_ENVIRONMENT", "env").env("IN_BOTH", "env");
        finish(command).await
    }
}

fn shop() -> Place {
    let dotenv = "FROM_DOTENV=dotenv\nIN_BOTH=dotenv\n";
    Place::new(&[("compose.yaml", FILE), (".env", dotenv), ("web.env", "BOTH=$IN_BOTH\n")])
}

#[tokio::test]
async fn a_compose_file_is_imported() {
    let (home, place) = (Home::new(), shop());
    let done = place.run(&home, &["app", "import", "compose.yaml", "--var", "VERSION=1.9"]).await;
    let expected = "app = \"shop\"\n\n[component.web]\nimage = \"shop:1.9\"\nport = 80\npublish = [\"8080:80\"]\n\n\
                    [component.web.env]\nBOTH = \"env\"\nFROM = \"dotenv env 5$\"\n";
    assert_eq!(done.expect(0).stdout, expected);
    let note = "compose.yaml:4:5: services.web.container_name: containers are named APP.COMPONENT.SLOT.GENERATION\n";
    assert_eq!(done.stderr, note);
    let json = place.run(&home, &["app", "import", "compose.yaml", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json.expect(0).stdout).unwrap()["component"]["web"]["port"], 80);
    let quiet = place.run(&home, &["app", "import", "compose.yaml", "-q"]).await;
    assert_eq!((quiet.expect(0).stdout.as_str(), quiet.stderr.as_str()), ("shop\n", ""));
    let from_elsewhere = home.run(&["app", "import", place.folder().join("compose.yaml").to_str().unwrap()]).await;
    assert!(from_elsewhere.expect(0).stdout.starts_with("app = \"shop\"\n"), "{from_elsewhere:?}");
    assert!(from_elsewhere.stdout.contains("FROM = \"dotenv  5$\""), "{from_elsewhere:?}");
}

#[tokio::test]
async fn what_is_imported_is_applied_as_the_file_itself() {
    let mut server = Server::start([("POST /api/apps/shop/plan", plan())]).await;
    let (home, place) = (Home::logged_in(&server), shop());
    let imported = place.run(&home, &["app", "import", "compose.yaml"]).await;
    std::fs::write(place.folder().join("paas.toml"), &imported.expect(0).stdout).unwrap();
    place.run(&home, &["app", "plan", "-f", "paas.toml"]).await.expect(0);
    let first = server.asked_once().body;
    place.run(&home, &["app", "plan", "-f", "compose.yaml"]).await.expect(0);
    assert_eq!(server.asked_once().body, first);
}

#[tokio::test]
async fn files_of_toml_are_laid_over_compose_files() {
    let mut server = Server::start([("POST /api/apps/shop/plan", plan())]).await;
    let production = "[component.web]\nreplicas = 3\nimage = 'web:${VERSION}'\n[component.more]\nimage = 'more'\n";
    let place = Place::new(&[
        ("compose.yml", "services:\n  web: {build: .}\n  db: {image: 'db:1'}\n"),
        ("compose.override.yml", "services: {db: {image: 'db:2'}}"),
        ("production.toml", production),
    ]);
    let home = Home::logged_in(&server);
    let files = ["-f", "compose.yml", "-f", "compose.override.yml", "-f", "production.toml"];
    let changes = ["--var", "VERSION=2", "--image", "web=web:1"];
    place.run(&home, &[&["app", "plan"][..], &files, &changes].concat()).await.expect(0);
    let body: Value = serde_json::from_str(&server.asked_once().body).unwrap();
    let component = &body["app"]["component"];
    assert_eq!((&component["web"]["replicas"], &component["web"]["image"]), (&3.into(), &"web:1".into()));
    assert_eq!((&component["db"]["image"], &component["more"]["image"]), (&"db:2".into(), &"more".into()));
    let wrong = place.run(&home, &["app", "plan", "-f", "production.toml", "-f", "compose.yml"]).await;
    let told = "paas-cli: compose.yml is a Compose file; name it before files of TOML\n";
    assert_eq!(wrong.expect(2).stderr, told);
}

#[tokio::test]
async fn what_would_be_missing_is_refused_unless_it_is_ignored() {
    let mut server = Server::start([("POST /api/apps/shop/plan", plan())]).await;
    let text = "services:\n  web: {image: a, privileged: true, tty: true, x-mine: 1}\n  db: {image: b, dns: 1.1.1.1}\n";
    let (home, place) = (Home::logged_in(&server), Place::new(&[("compose.yaml", text)]));
    let refused = place.run(&home, &["deploy", "-f", "compose.yaml"]).await;
    let told = "\
compose.yaml:2:37: services.web.tty: nothing is attached to
paas-cli: compose.yaml:2:19: services.web.privileged: write the capabilities it needs in cap_add, and devices
paas-cli: compose.yaml:3:18: services.db.dns: name servers are those of the host
paas-cli: compose.yaml has what would be missing; change the file, or name with --ignore what may be missing
";
    assert_eq!((refused.expect(2).stderr.as_str(), server.asked().len()), (told, 0));
    let ignored = ["app", "plan", "-f", "compose.yaml", "--ignore", "services.web", "--ignore", "dns"];
    assert_eq!(place.run(&home, &ignored).await.expect(0).stderr, "");
    assert_eq!(server.asked().len(), 1);
    let imported = place.run(&home, &["app", "import", "compose.yaml"]).await;
    assert_eq!(imported.expect(0).stderr.lines().count(), 3);
}

#[tokio::test]
async fn a_compose_file_is_known_by_what_is_in_it() {
    let mut server = Server::start([("POST /api/apps/blog/plan", plan())]).await;
    let home = Home::logged_in(&server);
    let text = "services:\n  web: {image: a}\n  debug: {image: a, profiles: [debug]}\n";
    home.run_with(text, &["app", "plan", "-f", "-", "--name", "blog", "--profile", "debug"]).await.expect(0);
    let body: Value = serde_json::from_str(&server.asked_once().body).unwrap();
    assert_eq!((&body["app"]["app"], body["app"]["component"].as_object().unwrap().len()), (&"blog".into(), 2));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let home = Home::new();
    let place = Place::new(&[("compose.yaml", "services:\n  web: {image: [a]}\n")]);
    let wrong = place.run(&home, &["app", "import", "compose.yaml"]).await;
    let told = "paas-cli: compose.yaml:2:16: services.web.image: must be a text, not a list\n";
    assert_eq!(wrong.expect(2).stderr, told);
    std::fs::write(place.folder().join(".env"), "A=1\nnot good\n").unwrap();
    let wrong = place.run(&home, &["app", "import", "compose.yaml"]).await;
    assert_eq!(
        wrong.expect(2).stderr,
        "paas-cli: .env, line 2: \"not good\" is no name of a variable; write NAME=value\n"
    );
    std::fs::remove_file(place.folder().join(".env")).unwrap();
    std::fs::create_dir(place.folder().join("Not A Name")).unwrap();
    std::fs::write(place.folder().join("Not A Name/c.yaml"), "services: {a: {image: a}}").unwrap();
    let nameless = place.run(&home, &["app", "import", "Not A Name/c.yaml"]).await;
    let told = "paas-cli: neither the file nor its folder names the application; add --name APP\n";
    assert_eq!(nameless.expect(2).stderr, told);
    let named = place.run(&home, &["app", "import", "Not A Name/c.yaml", "--name", "a"]).await;
    assert!(named.expect(0).stdout.starts_with("app = \"a\"\n"));
    let nowhere = place.run(&home, &["app", "import", "nowhere.yaml"]).await;
    assert!(nowhere.expect(2).stderr.starts_with("paas-cli: cannot read nowhere.yaml: "), "{nowhere:?}");
}
