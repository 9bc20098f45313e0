//! Random profiles: the program decides as the plain reading does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::interpreter::run;
use super::naive::Naive;
use super::{ALLOW, call, errno, interesting};
use crate::seccomp::profile::{KernelVersion, compile_for};
use crate::seccomp::rule::ENOSYS;
use crate::seccomp::{Arch, Profile};

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..4u64,
        any::<u32>().prop_map(u64::from),
        any::<u32>().prop_map(|high| u64::from(high) << 32),
        Just(u64::MAX),
        (0..64u32).prop_map(|bit| 1 << bit),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let operators = prop::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    (0..6u64, operators, value(), value()).prop_map(|(index, operator, first, second)| {
        // A masked comparison with bits outside the mask never holds: mostly ask for others.
        let second = if second % 4 == 0 { second } else { first & second };
        json!({"index": index, "op": format!("SCMP_CMP_{operator}"), "value": first, "valueTwo": second})
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let table = Arch::X86_64.table();
    let names = prop::collection::vec(prop::sample::select(table), 1..20);
    let actions = prop::sample::select(vec!["ALLOW", "ERRNO", "KILL_PROCESS", "LOG", "TRAP"]);
    let conditions = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(condition(), 1..4),
    ];
    (names, actions, 1..200u32, conditions).prop_map(|(names, action, number, conditions)| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        let mut rule =
            json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": conditions});
        if action == "ERRNO" {
            rule["errnoRet"] = number.into();
        }
        rule
    })
}

fn profile() -> impl Strategy<Value = Value> {
    let default = prop::sample::select(vec!["ALLOW", "ERRNO", "KILL_PROCESS", "TRAP", "LOG"]);
    (default, prop::collection::vec(rule(), 1..40)).prop_map(|(default, rules)| {
        // Rules that repeat the default are dropped by every engine, so they must not exist here.
        let default = format!("SCMP_ACT_{default}");
        let mut rules: Vec<Value> =
            rules.into_iter().filter(|rule| rule["action"] != default.as_str()).collect();
        if rules.is_empty() {
            rules.push(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}));
        }
        json!({"defaultAction": default, "defaultErrnoRet": 201, "syscalls": rules})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn tree_equals_naive(json in profile()) {
        let arch = Arch::X86_64;
        let compiled = Profile::parse(&json.to_string()).unwrap();
        let program = compile_for(&compiled, arch, KernelVersion(6, 18), &[]).unwrap();
        let naive = Naive::new(&json, arch, &[]);
        let newest = naive.newest();
        let passes = [ALLOW, 0x7ffc_0000].contains(&naive.default());
        for number in 0..=500 {
            for value in interesting(&naive.values(number)) {
                // The same in all arguments, then in one of them only.
                for only in [None, Some(0), Some(3), Some(5)] {
                    let mut args = [value; 6];
                    if let Some(index) = only {
                        args = [1; 6];
                        args[index] = value;
                    }
                    let wanted = if number > newest && !passes {
                        errno(ENOSYS)
                    } else {
                        naive.verdict(number, args)
                    };
                    let (verdict, _) = run(&program, &call(arch.audit(), number, args));
                    prop_assert_eq!(verdict, wanted, "call {} args {:x?}", number, args);
                }
            }
        }
    }
}
