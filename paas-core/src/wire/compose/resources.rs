//! CPU, memory and processes, which Compose has words for at two places.

use super::Wrong;
use super::fields::{Field, Fields};
use super::service::Service;
use crate::model::Cpus;

impl Service<'_, '_> {
    /// What stands at the service itself.
    pub(super) fn sizes(&mut self) -> Result<(), Wrong> {
        let (cpus, pids) = (self.fields.take("cpus"), self.fields.take("pids_limit"));
        let (memory, reservation) = (self.fields.take("mem_limit"), self.fields.take("mem_reservation"));
        self.limits(cpus, memory, pids)?;
        self.memory_reservation(reservation)
    }

    /// What stands in `deploy.resources`.
    pub(super) fn deploy_resources(&mut self, resources: Field) -> Result<(), Wrong> {
        let mut fields = resources.fields()?;
        let mut part = |key: &str| fields.take(key).map_or(Ok(Fields::default()), Field::fields);
        let (mut limits, mut reservations) = (part("limits")?, part("reservations")?);
        fields.end()?;
        self.limits(limits.take("cpus"), limits.take("memory"), limits.take("pids"))?;
        limits.end()?;
        self.memory_reservation(reservations.take("memory"))?;
        if let Some(cpus) = reservations.take("cpus") {
            self.importer.note(&cpus, "CPU is reserved as it is limited");
        }
        for (_, field) in reservations.rest() {
            self.importer
                .refuse(&field, "GPUs and their like are not passed on; write devices and a label in deploy.placement");
        }
        Ok(())
    }

    fn limits(&mut self, cpus: Option<Field>, memory: Option<Field>, pids: Option<Field>) -> Result<(), Wrong> {
        if let Some(field) = cpus {
            let number: f64 = field.number()?;
            let cpus = Cpus::try_from(number).map_err(|invalid| field.wrong(invalid.message))?;
            // Of 0, Compose makes no limit.
            if cpus > Cpus::ZERO {
                once(&field, &mut self.component.cpus, cpus)?;
            }
        }
        if let Some(field) = memory {
            once(&field, &mut self.component.memory, field.memory()?)?;
        }
        if let Some(field) = pids
            && let pids = field.number::<i64>()?
            && pids > 0
        {
            once(&field, &mut self.component.pids_limit, pids)?;
        }
        Ok(())
    }

    fn memory_reservation(&mut self, reservation: Option<Field>) -> Result<(), Wrong> {
        let Some(field) = reservation else { return Ok(()) };
        once(&field, &mut self.component.memory_reservation, field.memory()?)
    }
}

/// Sets what may be said twice, and then alike.
fn once<T: PartialEq + std::fmt::Display>(field: &Field, place: &mut Option<T>, value: T) -> Result<(), Wrong> {
    match place.replace(value) {
        Some(before) if place.as_ref() != Some(&before) => {
            Err(field.wrong(format!("is another value than deploy.resources has; write one of the two ({before})")))
        }
        _ => Ok(()),
    }
}
