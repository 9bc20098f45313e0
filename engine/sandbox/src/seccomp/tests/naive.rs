//! Docker's format read the slow way, straight from the JSON, sharing no code with the compiler.

use std::collections::HashMap;

use serde_json::Value;

use super::{ALLOW, errno};
use crate::seccomp::Arch;

/// What a profile says on one machine for one container.
pub(super) struct Naive {
    default: u32,
    /// The rules that count for each call some rule names, by number.
    rules: HashMap<u32, Vec<Value>>,
}

impl Naive {
    pub(super) fn new(profile: &Value, arch: Arch, capabilities: &[String]) -> Self {
        let groups = profile["syscalls"].as_array().unwrap();
        let mut rules = HashMap::new();
        for (name, number) in arch.table() {
            let named = |rule: &&Value| contains(&rule["names"], name);
            let counts = |rule: &&Value| applies(rule, arch.docker_name(), capabilities);
            let found: Vec<Value> = groups.iter().filter(named).filter(counts).cloned().collect();
            if !found.is_empty() {
                rules.insert(*number, found);
            }
        }
        Self { default: action(&profile["defaultAction"], &profile["defaultErrnoRet"]), rules }
    }

    /// The highest number among the calls the profile names for this container.
    pub(super) fn newest(&self) -> u32 {
        *self.rules.keys().max().unwrap()
    }

    /// Every value an argument of `number` is compared with.
    pub(super) fn values(&self, number: u32) -> Vec<u64> {
        self.rules_of(number)
            .iter()
            .flat_map(args)
            .flat_map(|arg| [arg["value"].as_u64().unwrap(), arg["valueTwo"].as_u64().unwrap_or(0)])
            .collect()
    }

    /// The profile's own verdict: no refinement for calls it does not know.
    pub(super) fn verdict(&self, number: u32, arguments: [u64; 6]) -> u32 {
        let rules = self.rules_of(number);
        if let Some(rule) = rules.iter().find(|rule| args(rule).is_empty()) {
            return action(&rule["action"], &rule["errnoRet"]);
        }
        rules
            .iter()
            .find(|rule| matches(args(rule), arguments))
            .map_or(self.default, |rule| action(&rule["action"], &rule["errnoRet"]))
    }

    pub(super) fn default(&self) -> u32 {
        self.default
    }

    fn rules_of(&self, number: u32) -> &[Value] {
        self.rules.get(&number).map_or(&[], Vec::as_slice)
    }
}

/// Every `minKernel` in use is older than any kernel Hull runs on.
fn applies(rule: &Value, docker_arch: &str, capabilities: &[String]) -> bool {
    let includes = &rule["includes"];
    let excludes = &rule["excludes"];
    let has = |name: &Value| capabilities.iter().any(|c| name == c);
    let included = list(&includes["caps"]).iter().all(has)
        && (list(&includes["arches"]).is_empty() || contains(&includes["arches"], docker_arch));
    let excluded =
        list(&excludes["caps"]).iter().any(has) || contains(&excludes["arches"], docker_arch);
    included && !excluded
}

fn matches(conditions: &[Value], arguments: [u64; 6]) -> bool {
    let holds = |condition: &Value| {
        let argument = arguments[usize::try_from(condition["index"].as_u64().unwrap()).unwrap()];
        let value = condition["value"].as_u64().unwrap();
        let second = condition["valueTwo"].as_u64().unwrap_or(0);
        match condition["op"].as_str().unwrap() {
            "SCMP_CMP_NE" => argument != value,
            "SCMP_CMP_LT" => argument < value,
            "SCMP_CMP_LE" => argument <= value,
            "SCMP_CMP_EQ" => argument == value,
            "SCMP_CMP_GE" => argument >= value,
            "SCMP_CMP_GT" => argument > value,
            "SCMP_CMP_MASKED_EQ" => argument & value == second,
            other => panic!("{other}"),
        }
    };
    let mut indexes: Vec<u64> = conditions.iter().map(|c| c["index"].as_u64().unwrap()).collect();
    indexes.sort_unstable();
    let repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
    if repeated { conditions.iter().any(holds) } else { conditions.iter().all(holds) }
}

fn action(action: &Value, number: &Value) -> u32 {
    match action.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => errno(u16::try_from(number.as_u64().unwrap_or(1)).unwrap()),
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        other => panic!("{other}"),
    }
}

fn args(rule: &Value) -> &[Value] {
    list(&rule["args"])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn contains(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word))
}
