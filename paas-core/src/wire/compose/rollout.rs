//! How many, where, and how they are replaced: `deploy` and `scale`.

use super::Wrong;
use super::fields::{Field, Fields};
use super::service::Service;
use crate::model::app::{OnFailure, Parallel, Replicas, UpdateOrder};

impl Service<'_, '_> {
    pub(super) fn deploy(&mut self) -> Result<(), Wrong> {
        if let Some(scale) = self.fields.take("scale") {
            self.component.replicas = Some(Replicas::Count(scale.number()?));
        }
        let Some(deploy) = self.fields.take("deploy") else { return Ok(()) };
        let mut fields = deploy.fields()?;
        self.replicas(&mut fields)?;
        if let Some(resources) = fields.take("resources") {
            self.deploy_resources(resources)?;
        }
        if let Some(placement) = fields.take("placement") {
            self.placement(placement)?;
        }
        if let Some(update) = fields.take("update_config") {
            self.update(update)?;
        }
        if let Some(policy) = fields.take("restart_policy") {
            self.restart_policy(policy)?;
        }
        if let Some(labels) = fields.take("labels") {
            self.importer
                .note(&labels, "labels of a Swarm service have no counterpart; those of containers stand in labels");
        }
        if let Some(rollback) = fields.take("rollback_config") {
            self.importer.note(&rollback, "a rollout back goes as update_config says");
        }
        if let Some(mode) = fields.take("endpoint_mode") {
            self.importer.note(&mode, "a name leads to every replica");
        }
        fields.end()
    }

    fn replicas(&mut self, fields: &mut Fields) -> Result<(), Wrong> {
        if let Some(replicas) = fields.take("replicas") {
            self.component.replicas = Some(Replicas::Count(replicas.number()?));
        }
        let Some(mode) = fields.take("mode") else { return Ok(()) };
        match mode.text()?.as_str() {
            "replicated" => {}
            "global" => self.component.replicas = Some(Replicas::EachHost),
            "replicated-job" | "global-job" => {
                self.importer
                    .refuse(&mode, "write restart: \"no\" for what ends, or before: {command: […]} under x-paas");
            }
            other => return Err(mode.wrong(format!("must be replicated or global, not {other:?}"))),
        }
        Ok(())
    }

    fn placement(&mut self, placement: Field) -> Result<(), Wrong> {
        let mut fields = placement.fields()?;
        for constraint in fields.take("constraints").map_or(Ok(Vec::new()), Field::list)? {
            let text = constraint.text()?;
            let (key, value) = text.split_once("==").unwrap_or((&text, ""));
            match key.trim().strip_prefix("node.labels.") {
                Some(label) if !value.trim().is_empty() && !label.ends_with('!') => {
                    self.component.place.labels.insert(format!("{label}={}", value.trim()));
                }
                _ if text.trim_start().starts_with("node.role") => {
                    self.importer.note(&constraint, "hosts have no roles: containers run on all of them");
                }
                _ => self
                    .importer
                    .refuse(&constraint, "only labels that a host must have are known: node.labels.NAME == VALUE"),
            }
        }
        for (_, field) in fields.rest() {
            self.importer.refuse(&field, "replicas are spread over hosts; write place: {…} under x-paas");
        }
        Ok(())
    }

    fn update(&mut self, update: Field) -> Result<(), Wrong> {
        let mut fields = update.fields()?;
        let update = &mut self.component.update;
        if let Some(order) = fields.take("order") {
            update.order = Some(match order.text()?.as_str() {
                "start-first" => UpdateOrder::StartFirst,
                "stop-first" => UpdateOrder::StopFirst,
                other => return Err(order.wrong(format!("must be start-first or stop-first, not {other:?}"))),
            });
        }
        if let Some(parallelism) = fields.take("parallelism") {
            update.parallel = Some(match parallelism.number()? {
                0 => Parallel::Percent(100),
                count => Parallel::Count(count),
            });
        }
        update.monitor = fields.take("monitor").map(|field| field.period()).transpose()?;
        if let Some(action) = fields.take("failure_action") {
            match action.text()?.as_str() {
                "pause" => update.on_failure = Some(OnFailure::Pause),
                "rollback" => update.on_failure = Some(OnFailure::Rollback),
                "continue" => {
                    self.importer.refuse(&action, "a rollout that fails goes no further; write pause or rollback");
                }
                other => return Err(action.wrong(format!("must be pause or rollback, not {other:?}"))),
            }
        }
        if let Some(delay) = fields.take("delay") {
            self.importer.note(
                &delay,
                "the next replica is replaced when the one before is ready; monitor says how long it is watched",
            );
        }
        if let Some(ratio) = fields.take("max_failure_ratio") {
            self.importer.note(&ratio, "the first replica that fails ends a rollout");
        }
        fields.end()
    }

    fn restart_policy(&mut self, policy: Field) -> Result<(), Wrong> {
        let mut fields = policy.fields()?;
        let attempts: Option<u32> = fields.take("max_attempts").map(|field| field.number()).transpose()?;
        if let Some(condition) = fields.take("condition") {
            let restart = match (condition.text()?.as_str(), attempts) {
                ("none", _) => "no".to_owned(),
                ("on-failure", Some(attempts)) => format!("on-failure:{attempts}"),
                ("on-failure", None) => "on-failure".to_owned(),
                ("any", _) => "always".to_owned(),
                (other, _) => return Err(condition.wrong(format!("must be none, on-failure or any, not {other:?}"))),
            };
            self.component.restart = Some(restart);
        }
        for field in fields.take("delay").into_iter().chain(fields.take("window")) {
            self.importer.note(&field, "Docker waits longer after each failure, by its own rule");
        }
        fields.end()
    }
}
