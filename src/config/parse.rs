//! From the text of services.toml to the fleet and the faults.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, code};
use super::fields::Fields;
use super::reader::{Ctx, Field, Span};
use super::units::{Wrong, quoted};
use super::validate::{self, Draft, Unit};
use super::{Source, Surroundings, alerts, exposure, service, task};
use crate::model::paths::Paths;
use crate::model::{AlertSpec, Fleet, ManagerKind, UnitName, Unusable};

pub(super) const ROOT_KEYS: &[&str] = &["supervisor", "service", "task", "alerts"];
pub(super) const SUPERVISOR_KEYS: &[&str] = &["state_dir", "label_prefix", "manager"];

const MANAGERS: &[(&str, ManagerKind)] = &[
    ("auto", ManagerKind::Auto),
    ("embedded", ManagerKind::Embedded),
    ("launchd", ManagerKind::Launchd),
    ("systemd", ManagerKind::Systemd),
];

/// What a services.toml says.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Everything that can be used. A service or task with a fault is not half in it: it stands in `unusable`. `None` when
    /// the file as a whole says nothing: it is not TOML, or leaves no state directory.
    pub fleet: Option<Fleet>,
    /// Everything that is wrong, in the order of the text.
    pub faults: Vec<Fault>,
}

/// Reads `source`. A function of its arguments: no clock, no file, no environment.
pub fn parse(source: &Source, around: &Surroundings) -> Parsed {
    let mut ctx = Ctx::new(&source.text, around);
    let Some(root) = document(&mut ctx, &source.text) else {
        return Parsed { fleet: None, faults: ctx.into_faults().1 };
    };
    let field = Field::new(String::new(), &root);
    let Some(table) = root.get_ref().as_table() else { return Parsed { fleet: None, faults: Vec::new() } };
    let f = Fields::open(&mut ctx, &field, table, ROOT_KEYS);

    let supervisor = supervisor(&mut ctx, &f);
    let alerts = match f.inner(&mut ctx, "alerts", alerts::KEYS, "{ crash_loop = { count = 3, within = \"5m\" } }") {
        Some(table) => alerts::read(&mut ctx, &table),
        None => AlertSpec::default(),
    };
    // Without a state directory there is no fleet, whatever its services say.
    let state_dir = supervisor.state_dir.clone().unwrap_or_else(|| around.default_state_dir());
    let units = units(&mut ctx, &f, &Paths::new(&state_dir));
    validate::check(&mut ctx, &units);

    let (first_faults, faults) = ctx.into_faults();
    let fleet = supervisor.state_dir.map(|state_dir| {
        let mut fleet = Fleet {
            state_dir,
            label_prefix: supervisor.label_prefix,
            manager: supervisor.manager,
            services: Vec::new(),
            tasks: Vec::new(),
            exposures: Vec::new(),
            unusable: Vec::new(),
            alerts,
        };
        sort_out(&mut fleet, units, &first_faults, source);
        fleet
    });
    Parsed { fleet, faults }
}

/// Where state is: `--state-dir`, `OPENCLAW_STATE_DIR`, the file, the default. That is all that is needed to ask the
/// daemon, and reading the services too would take most of the time. The file is asked for only where it decides; one
/// that cannot be read, or whose part about it cannot, leaves the default. Faults further down change nothing: who has just
/// broken a service's table is to find the daemon all the same.
pub fn state_dir<'s>(source: impl FnOnce() -> Option<&'s Source>, around: &Surroundings) -> PathBuf {
    let said = || source().and_then(|source| said_state_dir(source, around));
    around.state_dir.clone().or_else(said).unwrap_or_else(|| around.default_state_dir())
}

fn said_state_dir(source: &Source, around: &Surroundings) -> Option<PathBuf> {
    let read = |text| read_state_dir(text, around);
    head(&source.text).and_then(read).or_else(|| read(&source.text))
}

/// The text up to the table after `[supervisor]`, where that is the first one. A header that is part of a longer text cuts that
/// text off, and what is left is no TOML.
fn head(text: &str) -> Option<&str> {
    let mut end = 0;
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        match line.trim_start() {
            header if begun && header.starts_with('[') => return text.get(..end),
            header if header.starts_with("[supervisor]") => begun = true,
            header if header.starts_with('[') => return None,
            _ => {}
        }
        end += line.len();
    }
    None
}

fn read_state_dir(text: &str, around: &Surroundings) -> Option<PathBuf> {
    let mut unheard = Ctx::new(text, around);
    let root = document(&mut unheard, text)?;
    let field = Field::new(String::new(), &root);
    let f = Fields::open(&mut unheard, &field, root.get_ref().as_table()?, ROOT_KEYS);
    supervisor(&mut unheard, &f).state_dir
}

/// The text as a table, if it is TOML.
fn document<'t>(ctx: &mut Ctx<'_>, text: &'t str) -> Option<Spanned<DeValue<'t>>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax(ctx, &errors);
        return None;
    }
    // The root has no header to point at, so what it lacks would be shown at its beginning.
    Some(Spanned::new(0..0, DeValue::Table(root.into_inner())))
}

/// Puts each unit where it belongs.
fn sort_out(fleet: &mut Fleet, units: Vec<Unit>, first_faults: &[(usize, Fault)], source: &Source) {
    for (index, unit) in units.into_iter().enumerate() {
        let fault = first_faults.iter().find(|(owner, _)| *owner == index).map(|(_, fault)| fault);
        if let Some(fault) = fault {
            if unit.named {
                let is_task = unit.is_task();
                fleet.unusable.push(Unusable { name: unit.name, is_task, why: fault.one_line(&source.path) });
            }
            continue;
        }
        match unit.draft {
            Draft::Service(draft) => fleet.services.push(draft.spec),
            Draft::Task(spec) => fleet.tasks.push(*spec),
            Draft::Exposure(spec) => fleet.exposures.push(*spec),
            // Has a fault by what it is.
            Draft::Nothing { .. } => {}
        }
    }
    // Where a faulty unit has the name of a good one, records by name belong to the good one.
    let Fleet { services, tasks, exposures, unusable, .. } = fleet;
    let good = |name: &UnitName| {
        services.iter().any(|s| s.name == *name)
            || tasks.iter().any(|t| t.name == *name)
            || exposures.iter().any(|e| e.name == *name)
    };
    unusable.retain(|u| !good(&u.name));
}

/// The parser goes on after an error; what it then finds on the same line is mostly an echo.
fn syntax(ctx: &mut Ctx<'_>, errors: &[toml::de::Error]) {
    let mut told = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = ctx.line(span.start);
        if told.contains(&line) {
            continue;
        }
        told.push(line);
        let what = error.message();
        let wrong = Wrong::new(code::SYNTAX, format!("the file is not TOML: {what}"), what);
        let help = match what {
            "duplicate key" => "let each table and each key stand once, with everything that belongs to it",
            _ => {
                "texts stand in double quotes, lists in [ ], inline tables in { }; the rest of the file is looked at \
                  once this can be read"
            }
        };
        ctx.report(&span, wrong.help(help));
    }
}

struct Supervisor {
    state_dir: Option<PathBuf>,
    label_prefix: String,
    manager: ManagerKind,
}

fn supervisor(ctx: &mut Ctx<'_>, root: &Fields<'_>) -> Supervisor {
    let given = ctx.around.state_dir.clone();
    let default = Some(ctx.around.default_state_dir());
    let mut read = Supervisor { state_dir: default, label_prefix: "ai.openclaw".into(), manager: ManagerKind::Auto };
    if let Some(f) = root.inner(ctx, "supervisor", SUPERVISOR_KEYS, "{ state_dir = \"~/.openclaw\" }") {
        if f.get("state_dir").is_some() {
            read.state_dir = f.path(ctx, "state_dir");
        }
        if let Some(prefix) = f.get("label_prefix").and_then(|field| label_prefix(ctx, &field)) {
            read.label_prefix = prefix;
        }
        read.manager = f.choice(ctx, "manager", ManagerKind::Auto, MANAGERS);
    } else if root.get("supervisor").is_some() {
        read.state_dir = None;
    }
    read.state_dir = given.or(read.state_dir);
    read
}

/// It becomes part of file names and of launchd labels.
fn label_prefix(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    const LONGEST: usize = 128;
    let text = field.text(ctx, "a text in quotes", "\"ai.openclaw\"")?;
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if text.len() > LONGEST || !text.split('.').all(part) {
        let wrong = Wrong::new(code::BAD_FORM, format!("{} cannot begin a launchd label", quoted(text)), "not a label");
        let help = format!(
            "write words of letters, digits, `-` and `_` joined by single dots, at most {LONGEST} characters, such as \"ai.openclaw\""
        );
        field.wrong(ctx, wrong.help(help));
        return None;
    }
    Some(text.to_owned())
}

/// All services and tasks, in the order of the text.
fn units(ctx: &mut Ctx<'_>, root: &Fields<'_>, paths: &Paths) -> Vec<Unit> {
    let mut found: Vec<(Span, &str, bool, Field<'_>)> = Vec::new();
    for (group, is_task) in [("service", false), ("task", true)] {
        let example = format!("[{group}.NAME] as its header, and its keys below that");
        let Some(field) = root.get(group) else { continue };
        let DeValue::Table(table) = field.value() else {
            field.wrong_type(ctx, "a table of named ones", &example);
            continue;
        };
        for (key, value) in table.iter() {
            let field = Field::new(format!("{group}.{}", key.get_ref()), value);
            found.push((key.span(), &**key.get_ref(), is_task, field));
        }
    }
    found.sort_by_key(|(at, ..)| at.start);

    let mut units = Vec::with_capacity(found.len());
    for (at, key, is_task, field) in found {
        let (name, bad) = match UnitName::new(key) {
            Ok(name) => (name, None),
            Err(bad) => match UnitName::new(&make_name(key)) {
                Ok(near) => (near, Some(bad)),
                Err(_) => continue,
            },
        };
        ctx.enter(Some((units.len(), bad.is_none().then(|| name.clone()))));
        let named = bad.is_none();
        if let Some(bad) = bad {
            let group = if is_task { "task" } else { "service" };
            let message = format!("{} cannot be the name of a {group}: {bad}", quoted(key));
            ctx.report(&at, Wrong::new(code::NAME, message, "not a name").help(format!("write [{group}.{name}]")));
        }
        let (keys, example) = if is_task {
            (task::KEYS, "{ calendar = [\"daily 07:55\"] }")
        } else {
            (service::KEYS, "{ command = [\"program\"] }")
        };
        let draft = match field.table(ctx, example) {
            None => Draft::Nothing { is_task },
            Some(table) => {
                let told = if is_task { exposure::mixed(ctx, &field, table) } else { Vec::new() };
                let is_exposure = is_task && exposure::is_one(table);
                let keys = if is_exposure { exposure::KEYS } else { keys };
                let f = Fields::open_beside(ctx, &field, table, keys, &told);
                match is_task {
                    true if is_exposure => Draft::Exposure(Box::new(exposure::read(ctx, name.clone(), &f))),
                    true => Draft::Task(Box::new(task::read(ctx, name.clone(), &f))),
                    false => Draft::Service(Box::new(service::read(ctx, name.clone(), &f, paths))),
                }
            }
        };
        units.push(Unit { name, at, named, draft });
        ctx.enter(None);
    }
    units
}

/// The nearest text that is a name, to read the rest of a badly named unit and to propose it.
fn make_name(key: &str) -> String {
    let plain: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
    let trimmed = plain.trim_matches(['-', '_', '.']);
    let name = if trimmed.is_empty() { "unnamed" } else { trimmed };
    name.chars().take(UnitName::MAX).collect()
}
