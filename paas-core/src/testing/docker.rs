//! What tests need of a real Docker host: the host itself, and an image to run that comes from no registry.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::Mutex;

pub use super::skip::{NO_SKIP_VARIABLE, skip};
use super::tier;
use crate::engine::{Docker, DockerEngine};
use crate::model::EngineAddress;

/// Names the address of the Docker host to test with.
pub const ADDRESS_VARIABLE: &str = "PAAS_TEST_DOCKER";
/// The image that [`web_image`] makes.
pub const WEB_IMAGE: &str = "paas-test-web:1";
/// What a container of [`WEB_IMAGE`] answers on port 80.
pub const WEB_PAGE: &str = "hello\n";

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 7] = ["sh", "httpd", "sleep", "wget", "cat", "echo", "true"];
const DEADLINE: Duration = Duration::from_secs(10);

/// The Docker host to test with, if it answers. If it does not, says so on standard error in a line that begins with
/// `SKIPPED:` and the test's name.
///
/// # Panics
/// Where [`NO_SKIP_VARIABLE`] is `1` and no host answers, or [`ADDRESS_VARIABLE`] holds no address.
pub async fn daemon(test: &str) -> Option<EngineAddress> {
    if tier::is_quick() {
        skip(test, tier::LEFT_OUT);
        return None;
    }
    let text = std::env::var(ADDRESS_VARIABLE).unwrap_or_else(|_| DEFAULT_ADDRESS.to_owned());
    let address: EngineAddress = text.parse().expect("the variable holds an address");
    let answer = match Docker::new(&address, None) {
        Ok(docker) => docker.ping(DEADLINE).await,
        Err(err) => Err(err),
    };
    match answer {
        Ok(()) => Some(address),
        Err(err) => {
            skip(test, &err.to_string());
            None
        }
    }
}

/// A plain client of the host, to look at it with other eyes than the engine's.
///
/// # Panics
/// Where the address cannot be connected to.
pub async fn client(address: &EngineAddress) -> bollard::Docker {
    let client = bollard::Docker::connect_with_host(&address.to_string()).expect("the host can be connected to");
    client.negotiate_version().await.expect("the host tells its version")
}

/// Makes sure that the host has the image [`WEB_IMAGE`]: a web server on port 80, started by default, and `sh`, `sleep`,
/// `wget`, `cat`, `echo` and `true`. Made from this machine's static busybox. Answers with its name.
///
/// # Panics
/// Where this machine has no busybox or the host does not take the image.
pub async fn web_image(address: &EngineAddress) -> &'static str {
    // Made once for all tests of a process: each import is a new image, and takes the name from the one before.
    static MADE: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());
    let mut made = MADE.lock().await;
    if made.insert(address.to_string()) {
        import(address).await;
    }
    WEB_IMAGE
}

async fn import(address: &EngineAddress) {
    let client = client(address).await;
    if client.inspect_image(WEB_IMAGE).await.is_ok() {
        return;
    }
    let (repository, tag) = WEB_IMAGE.split_once(':').expect("the name has a tag");
    let options = bollard::query_parameters::CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repository.to_owned()),
        tag: Some(tag.to_owned()),
        changes: vec![r#"CMD ["/bin/httpd","-f","-p","80","-h","/www"]"#.to_owned(), "EXPOSE 80".to_owned()],
        ..Default::default()
    };
    let content = bollard::body_full(Bytes::from(web_files()));
    let import = client.create_image(Some(options), Some(content), None).try_collect::<Vec<_>>();
    import.await.expect("the host takes the image");
}

/// The files of the image, as a tar archive.
///
/// # Panics
/// Where this machine has no busybox.
pub fn web_files() -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).expect("tests with a real host need /bin/busybox, statically linked");
    let mut archive = Archive::default();
    for folder in ["bin/", "www/", "tmp/", "etc/"] {
        archive.add(folder, Entry::Folder);
    }
    archive.add("bin/busybox", Entry::File(&busybox));
    for applet in APPLETS {
        archive.add(&format!("bin/{applet}"), Entry::Link("busybox"));
    }
    archive.add("www/index.html", Entry::File(WEB_PAGE.as_bytes()));
    archive.finish()
}

enum Entry<'a> {
    Folder,
    File(&'a [u8]),
    Link(&'a str),
}

/// A tar archive in the ustar format of POSIX.1-1988. Names of at most 100 bytes.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    const BLOCK: usize = 512;

    fn add(&mut self, name: &str, entry: Entry<'_>) {
        let (kind, mode, target, content): (u8, u32, &str, &[u8]) = match entry {
            Entry::Folder => (b'5', 0o755, "", &[]),
            Entry::File(content) => (b'0', 0o755, "", content),
            Entry::Link(target) => (b'2', 0o777, target, &[]),
        };
        let mut header = [0; Self::BLOCK];
        let mut put = |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, b"00000000000");
        // The checksum counts its own field as blanks.
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(Self::BLOCK), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * Self::BLOCK, 0);
        self.0
    }
}
