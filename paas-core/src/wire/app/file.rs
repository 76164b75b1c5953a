//! Reading `paas.toml`, with what is laid over it.

use toml::{Table, Value};

use super::{AppRequest, EnvRequest, forms};
use crate::model::app::EnvValue;

/// What is wrong with a file. Shown as `paas.toml:3:7: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", position(*.line_and_column))]
pub struct AppFileError {
    /// The file, by the name it was given.
    pub file: String,
    /// Where in it, each counted from 1 and the column in characters; nothing where no one place is wrong.
    pub line_and_column: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

fn position(line_and_column: Option<(usize, usize)>) -> String {
    line_and_column.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
}

/// Reads an application from files of TOML, each laid over those before it: tables are merged, anything else is replaced.
///
/// Then `${NAME}` is replaced in `image` and in the values of `env`, by what `variable` has; `$${` stands for `${`.
///
/// ```
/// use paas_core::wire::app::read_files;
///
/// let base = "app = 'shop'\n[component.web]\nimage = 'shop:${VERSION}'\nport = 80";
/// let production = "[component.web]\nreplicas = 3";
/// let variable = |name: &str| (name == "VERSION").then(|| "1.8".to_owned());
/// let request = read_files(&[("paas.toml", base), ("production.toml", production)], variable)?;
/// let shop = request.normalise(None)?;
/// assert_eq!(shop.components["web"].image.as_str(), "shop:1.8");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A file is no TOML, has a field that is not known or not of that type, or names a variable that has no value.
pub fn read_files(
    files: &[(&str, &str)],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<AppRequest, AppFileError> {
    let mut merged = Table::new();
    for (name, text) in files {
        let wrong = |error: toml::de::Error| located(name, text, &error);
        // Each file by itself first, since only then it is known where in which file something is wrong.
        toml::from_str::<AppRequest>(text).map_err(wrong)?;
        merge(&mut merged, toml::from_str(text).map_err(wrong)?);
    }
    let last = files.last().map_or("paas.toml", |(name, _)| *name);
    let whole = |message: String| AppFileError { file: last.to_owned(), line_and_column: None, message };
    let mut request: AppRequest =
        merged.try_into().map_err(|error: toml::de::Error| whole(error.message().to_owned()))?;
    for (name, component) in &mut request.component {
        let at = |field: &str, message: String| whole(format!("component.{name}.{field}: {message}"));
        if let Some(image) = &mut component.image {
            *image = interpolate(image, &variable).map_err(|message| at("image", message))?;
        }
        for (key, value) in &mut component.env {
            if let EnvRequest(EnvValue::Text(text)) = value {
                *text = interpolate(text, &variable).map_err(|message| at(&format!("env.{key}"), message))?;
            }
        }
    }
    Ok(request)
}

fn located(file: &str, text: &str, error: &toml::de::Error) -> AppFileError {
    let line_and_column = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    });
    let message = forms::of_wrong_type(text, error);
    let message = message.unwrap_or_else(|| error.message().trim_end().replace('\n', ", "));
    AppFileError { file: file.to_owned(), line_and_column, message }
}

/// Lays a table over another: tables are merged, anything else is replaced.
pub(crate) fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn interpolate(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            done.push_str(before);
            done.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or_else(|| format!("{rest:?} has no closing brace"))?;
        let value = variable(name)
            .ok_or_else(|| format!("${{{name}}} has no value; set it in the environment or with --var {name}=…"))?;
        done.push_str(before);
        done.push_str(&value);
        rest = after;
    }
    done.push_str(rest);
    Ok(done)
}
