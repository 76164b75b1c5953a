//! Values as they are typed.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use paas_core::model::app::{AppName, ComponentName};
use paas_core::model::{ContainerType, Cpus, ImageRef, Invalid, MemoryMb, RestartPolicy, Ulimit};

/// `KEY=VALUE`; the value may be empty and may hold more `=`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// `APP`, or `APP/COMPONENT`.
pub(super) fn app_target(text: &str) -> Result<(AppName, Option<ComponentName>), String> {
    let (app, component) = match text.split_once('/') {
        Some((app, component)) => (app, Some(component)),
        None => (text, None),
    };
    Ok((plain(app.parse())?, component.map(|component| plain(component.parse())).transpose()?))
}

/// `APP`, `APP/COMPONENT`, or `APP/COMPONENT.SLOT`.
pub(super) fn replica(text: &str) -> Result<(AppName, Option<ComponentName>, Option<u32>), String> {
    let (target, slot) = match text.split_once('.') {
        Some((target, slot)) => {
            let number = slot.parse().ok().filter(|number| *number > 0);
            (target, Some(number.ok_or("the part after the point is the number of a replica, such as shop/web.2")?))
        }
        None => (text, None),
    };
    let (app, component) = app_target(target)?;
    Ok((app, component, slot))
}

/// `COMPONENT=IMAGE`.
pub(super) fn component_image(text: &str) -> Result<(ComponentName, ImageRef), String> {
    let (component, image) = text.split_once('=').ok_or("write COMPONENT=IMAGE, such as web=shop:1.9")?;
    Ok((plain(component.parse())?, plain(image.parse())?))
}

/// `CONTAINER` or `CONTAINER:ALIAS`.
pub(super) fn link(text: &str) -> Result<(String, String), String> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    let target = target.trim_start_matches('/');
    let alias = alias.trim_start_matches('/');
    if target.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err("write CONTAINER or CONTAINER:ALIAS".to_owned());
    }
    Ok((target.to_owned(), alias.to_owned()))
}

/// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
pub(super) fn restart(text: &str) -> Result<RestartPolicy, String> {
    match text {
        "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure { maximum_retry: 0 }),
        other => match other.strip_prefix("on-failure:").map(str::parse) {
            Some(Ok(maximum_retry)) => Ok(RestartPolicy::OnFailure { maximum_retry }),
            _ => Err("write no, always, unless-stopped, on-failure or on-failure:N".to_owned()),
        },
    }
}

pub(super) fn container_type(text: &str) -> Result<ContainerType, String> {
    let all = [ContainerType::Service, ContainerType::Unique, ContainerType::Multi, ContainerType::Host];
    let found = all.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| "write service, unique, multi or host".to_owned())
}

pub(super) fn cpus(text: &str) -> Result<Cpus, String> {
    let number: f64 = text.parse().map_err(|_| "write a number of CPUs such as 2 or 0.5".to_owned())?;
    Cpus::try_from(number).map_err(|invalid| invalid.message)
}

/// `64m` or `1g`, as Docker writes sizes. A number alone is bytes to Docker and megabytes elsewhere here, so it is refused.
pub(super) fn size(text: &str) -> Result<MemoryMb, String> {
    let lower = text.to_ascii_lowercase();
    let size = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, megabytes) = match (size.strip_suffix('m'), size.strip_suffix('g')) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 1024),
        _ => ("", 0),
    };
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let size = number.and_then(|number| number.checked_mul(megabytes)).map(MemoryMb::new);
    size.ok_or_else(|| "write a size in whole megabytes or gigabytes, such as 64m or 1g".to_owned())
}

/// `NAME=SOFT:HARD`, or `NAME=BOTH`.
pub(super) fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
    let (name, limit) = variable(text).map_err(|_| "write NAME=SOFT:HARD, such as nofile=1024:2048".to_owned())?;
    Ok((name, plain(limit.parse())?))
}

/// `NAME:ADDRESS`, or `NAME=ADDRESS` as newer versions of Docker have it.
pub(super) fn extra_host(text: &str) -> Result<String, String> {
    match text.split_once(['=', ':']) {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok(format!("{name}:{}", address.trim_start_matches('[').trim_end_matches(']')))
        }
        _ => Err("write NAME:ADDRESS".to_owned()),
    }
}

/// How long something takes, as Docker writes it: `1m30s`, `500ms`, `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let read = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    read.ok_or_else(|| "write a time such as 30s, 1m30s or 500ms".to_owned())
}

/// A message without the field's name on the wire, for where the option is named beside it.
pub(super) fn plain<T>(parsed: Result<T, Invalid>) -> Result<T, String> {
    parsed.map_err(|invalid| invalid.message)
}

/// A point in time, or how long ago it was.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    since_before(Timestamp::now(), text)
}

fn since_before(now: Timestamp, text: &str) -> Result<Timestamp, String> {
    let wrong = || "write a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 10m, 1h30m, 2d".to_owned();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(wrong);
    }
    let ago: Span = text.parse().map_err(|_| wrong())?;
    let ago = ago.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if ago.is_negative() {
        return Err(wrong());
    }
    now.checked_sub(ago).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn variables_may_be_empty_but_not_nameless() {
        assert_eq!(variable("A=b=c"), Ok(pair("A", "b=c")));
        assert_eq!(variable("A="), Ok(pair("A", "")));
        assert!(variable("A").is_err() && variable("=b").is_err() && variable("").is_err());
    }

    #[test]
    fn a_component_stands_after_its_application() {
        let names = |text: &str| {
            app_target(text).map(|(app, component)| (app.to_string(), component.map(|component| component.to_string())))
        };
        assert_eq!(names("shop"), Ok(("shop".to_owned(), None)));
        assert_eq!(names("shop/web"), Ok(("shop".to_owned(), Some("web".to_owned()))));
        for bad in ["", "/", "shop/", "/web", "shop/web/1", "Shop"] {
            assert!(names(bad).is_err(), "{bad:?} was taken");
        }
        let (component, image) = component_image("web=registry.example.org:5000/shop:1.9").unwrap();
        assert_eq!((component.as_str(), image.as_str()), ("web", "registry.example.org:5000/shop:1.9"));
        for bad in ["", "web", "=shop", "web=", "web=Not An Image"] {
            assert!(component_image(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_link_without_alias_keeps_the_name() {
        assert_eq!(link("db"), Ok(pair("db", "db")));
        assert_eq!(link("/db"), Ok(pair("db", "db")));
        assert_eq!(link("db:database"), Ok(pair("db", "database")));
        for bad in ["", ":", "db:", ":alias", "a:b:c", "/"] {
            assert!(link(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn restart_policies_are_read() {
        assert_eq!(restart("no"), Ok(RestartPolicy::No));
        assert_eq!(restart("unless-stopped"), Ok(RestartPolicy::UnlessStopped));
        assert_eq!(restart("on-failure"), Ok(RestartPolicy::OnFailure { maximum_retry: 0 }));
        assert_eq!(restart("on-failure:3"), Ok(RestartPolicy::OnFailure { maximum_retry: 3 }));
        for bad in ["", "never", "on-failure:", "on-failure:-1", "on-failure:x", "always:3"] {
            assert!(restart(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn times_are_absolute_or_ago() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-01-31T11:00:00Z", "2026-01-31T11:00:00Z"),
            ("2026-01-31T11:00:00+02:00", "2026-01-31T09:00:00Z"),
            ("10m", "2026-01-31T11:50:00Z"),
            ("1h30m", "2026-01-31T10:30:00Z"),
            ("90s", "2026-01-31T11:58:30Z"),
            ("2d", "2026-01-29T12:00:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1769860800", "2026-01-31T12:00:00Z"),
        ] {
            assert_eq!(since_before(now, text), Ok(time.parse().unwrap()), "{text}");
        }
        for bad in ["", "yesterday", "-10m", "10", "1y", "99999999999999999999"] {
            let read = since_before(now, bad);
            assert!(read.is_err() || bad == "10", "{bad:?} was taken as {read:?}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        let megabytes = |text: &str| size(text).map(MemoryMb::mb);
        assert_eq!((megabytes("64m"), megabytes("2G"), megabytes("128MB")), (Ok(64), Ok(2048), Ok(128)));
        for bad in [
            "",
            "64",
            "64k",
            "m",
            "-1m",
            "+1m",
            "1.5g",
            "64mm",
            "64b",
            "99999999999999999999g",
            "18446744073709551615g",
        ] {
            assert!(size(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn limits_hosts_and_times_are_written_as_docker_has_them() {
        let limit = |name: &str, soft, hard| Ok((name.to_owned(), Ulimit { soft, hard }));
        assert_eq!(ulimit("nofile=1024:2048"), limit("nofile", 1024, 2048));
        assert_eq!(ulimit("core=-1"), limit("core", -1, -1));
        for bad in ["nofile", "nofile=", "=1", "nofile=1:", "nofile=a:b", "nofile=1:2:3"] {
            assert!(ulimit(bad).is_err(), "{bad:?} was taken");
        }
        for (given, written) in [("db:10.0.0.5", "db:10.0.0.5"), ("db=10.0.0.5", "db:10.0.0.5"), ("db:[::1]", "db:::1")]
        {
            assert_eq!(extra_host(given).unwrap(), written);
        }
        assert!(extra_host("db").is_err() && extra_host("db:").is_err() && extra_host(":10.0.0.5").is_err());
        let times = [("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0", 0), ("0s", 0), ("2h", 7_200_000)];
        for (text, milliseconds) in times {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "30", "-1s", "soon", "1s -2s"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn cpus_are_numbers() {
        assert_eq!(cpus("0.5"), Ok(Cpus::from_milli(500)));
        assert!(cpus("half").is_err() && cpus("-1").is_err() && cpus("NaN").is_err());
    }
}
