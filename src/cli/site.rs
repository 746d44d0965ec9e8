//! Where `install` is to put things on this machine, and who else is there.

use std::path::{Path, PathBuf};

use super::Context;
use super::args::{Install, Loader};
use crate::control::client::Runner;
use crate::error::{Error, ErrorKind};
use crate::manager::drivers;
use crate::manager::job::Site;
use crate::manager::owners::{self, Around, Owner};
use crate::model::paths::{EMBEDDED_RUNNER, Paths};
use crate::model::{Fleet, ManagerKind};
use crate::process::handover::own_program;

/// Who is to load what, and from where.
pub(super) struct Place {
    pub(super) kind: ManagerKind,
    pub(super) folder: PathBuf,
    pub(super) embedded: bool,
    pub(super) no_load: bool,
    /// For root's launchd or systemd.
    pub(super) user: Option<String>,
}

impl Place {
    pub(super) fn of(args: &Install, fleet: &Fleet, context: &Context<'_>) -> Result<Self, Error> {
        let asked = args.manager.map(|loader| match loader {
            Loader::Launchd => ManagerKind::Launchd,
            Loader::Systemd => ManagerKind::Systemd,
        });
        let said = Some(fleet.manager).filter(|kind| matches!(kind, ManagerKind::Launchd | ManagerKind::Systemd));
        let kind = asked.unwrap_or_else(|| drivers::of_manager(fleet.manager));
        if let Some(said) = said.filter(|said| *said != kind && !args.no_load) {
            let message = format!("services.toml says manager = \"{said}\", and not {kind}");
            return Err(
                Error::new(ErrorKind::Refused, message).hint("write manager = \"auto\" there, or leave --manager out")
            );
        }
        let home = context.sources.surroundings().home;
        let user = args.system.then(user_name).transpose()?;
        let folder = match &args.plist_dir {
            Some(dir) => std::path::absolute(dir).map_err(|e| Error::io("cannot find", dir, &e))?,
            None if args.system => Paths::new(&fleet.state_dir).supervisor().join("system"),
            None => drivers::folder(kind, &home),
        };
        // Whether root wants them loaded is root's to say.
        let no_load = args.no_load || args.system;
        Ok(Self { kind, folder, embedded: fleet.manager == ManagerKind::Embedded, no_load, user })
    }
}

fn user_name() -> Result<String, Error> {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map(|user| user.name).ok_or_else(|| {
        Error::new(ErrorKind::Refused, format!("the user with uid {uid} has no name for root's launchd to use"))
    })
}

pub(super) fn site(place: &Place, fleet: &Fleet, config: &Path, context: &Context<'_>) -> Result<Site, Error> {
    let home = context.sources.surroundings().home;
    let config = std::path::absolute(config).map_err(|e| Error::io("cannot find", config, &e))?;
    Ok(Site {
        program: stable_program(context)?,
        config,
        state_dir: fleet.state_dir.clone(),
        logs: drivers::logs(place.kind, &home, Paths::new(&fleet.state_dir).logs()),
        home,
        user: place.user.clone(),
        embedded: place.embedded,
        manager: place.kind,
    })
}

/// This program by the path that stays the same when it is upgraded: where PATH has it, which may be a link.
fn stable_program(context: &Context<'_>) -> Result<PathBuf, Error> {
    let own = own_program()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("it cannot be found out where this program is: {e}")))?;
    let canonical = own.canonicalize().unwrap_or_else(|_| own.clone());
    let name = own.file_name().unwrap_or_default();
    let folders = context.path_var.iter().flat_map(std::env::split_paths).filter(|folder| folder.is_absolute());
    let mut candidates = folders.map(|folder| folder.join(name));
    Ok(candidates.find(|path| path.canonicalize().is_ok_and(|c| c == canonical)).unwrap_or(own))
}

/// Who else starts services that are enabled here, but for jobs under our own labels, which are looked at one by one.
pub(super) fn strangers(fleet: &Fleet, place: &Place, paths: &Paths, home: &Path) -> Vec<Owner> {
    let services: Vec<_> = fleet.services.iter().filter(|service| service.enabled).cloned().collect();
    let mut around = Around::gather(home, paths.state_dir());
    if !around.agents.contains(&place.folder) && place.kind == ManagerKind::Launchd {
        around.agents.push(place.folder.clone());
    }
    let found = owners::find(&services, &fleet.label_prefix, &around);
    found.into_iter().filter(|owner| !owner.same_label).collect()
}

/// An embedded daemon and jobs would both want to be the parent of the services.
pub(super) fn no_embedded_daemon(paths: &Paths) -> Result<(), Error> {
    let Some(_) = Runner::connect_if_running(&paths.runner_socket(EMBEDDED_RUNNER))? else { return Ok(()) };
    let message =
        "a daemon is running that starts the services itself; its services and the jobs would be in each other's way";
    Err(Error::new(ErrorKind::Refused, message).hint(
        "end it first (`supervisor uninstall` when it was installed, else Ctrl-C where it runs, or SIGTERM to the pid that `supervisor status` shows), then install",
    ))
}
