"""What job(...) takes, in every keyword, and what it says of mistakes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reflow.authoring import Flow
from reflow.authoring.settings import KEYWORDS, job_config
from reflow.errors import WorkflowError
from reflow.model.names import Fingerprint
from reflow.model.resources import Resources
from reflow.model.retry import Retry, Scale
from reflow.model.task import JobConfig


def read(**given: Any) -> JobConfig:
    told: list[str] = []
    config = job_config(given, told.append)
    assert told == []
    return config


def test_nothing_given() -> None:
    assert read() == JobConfig()


def test_everything_given() -> None:
    retry = Retry(max=2, on={"oom": Scale(mem=2)}, max_mem="64G")
    assert read(
        cpus=4,
        time=timedelta(hours=2),
        mem="16G",
        gpus=1,
        nodes=2,
        tasks=8,
        array=True,
        array_parallelism=10,
        after=["a"],
        cache="portable",
        version=3,
        verify=False,
        retries=retry,
        submit_options={"mail-type": ["END", "FAIL"], "gres": "tmp:10G"},
        native=["--comment", "x"],
        env={"OMP_NUM_THREADS": 4, "DATA": Path("/data"), "NAME": "x"},
        modules=("gcc", "openmpi"),
        setup="ulimit -s unlimited",
        fingerprint="content",
        partition="gpu",
        account="me",
        exclusive=True,
        qos=None,
    ) == JobConfig(
        resources=Resources(cpus=4, time=7200, mem=16 * 1024**3, gpus=1, nodes=2, tasks=8),
        array=True,
        array_parallelism=10,
        after=("a",),
        cache="portable",
        version="3",
        verify=False,
        retry=retry,
        options={
            "queue": "gpu",
            "account": "me",
            "exclusive": True,
            "qos": None,
            "mail_type": ["END", "FAIL"],
            "gres": "tmp:10G",
        },
        native=("--comment", "x"),
        env={"OMP_NUM_THREADS": "4", "DATA": "/data", "NAME": "x"},
        modules=("gcc", "openmpi"),
        setup="ulimit -s unlimited",
        fingerprint=Fingerprint.CONTENT,
    )


def test_none_is_not_given() -> None:
    assert read(**dict.fromkeys(set(KEYWORDS) - set(Resources.__struct_fields__))) == JobConfig()


def test_retries_as_a_number() -> None:
    assert read(retries=2).retry == Retry(max=2)
    assert read(retries=0).retry == Retry(max=0)


def test_resources_among_the_options_are_resources() -> None:
    config = read(submit_options={"mem": "2G", "--time": "1h", "tasks": 4})
    assert config.resources == Resources(mem=2 * 1024**3, time=3600, tasks=4)
    assert config.options == {}


@pytest.mark.parametrize("nothing", [None, False])
@pytest.mark.parametrize("name", Resources.__struct_fields__)
def test_a_resource_of_the_configuration_is_taken_back(name: str, nothing: object) -> None:
    for config in (read(**{name: nothing}), read(submit_options={name: nothing})):
        assert config.resources == Resources()
        assert config.options == {name: nothing}


def test_the_same_option_twice_with_one_value() -> None:
    assert read(partition="a", queue="a", submit_options={"queue": "a"}).options == {"queue": "a"}


def test_tuples_become_lists() -> None:
    assert read(constraint=("a", "b")).options == {"constraint": ["a", "b"]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cpus": 0}, "cpus: 0 is not a whole number of at least 1"),
        ({"cpus": "many"}, "cpus: 'many' is not a whole number"),
        ({"time": "02:00"}, "time: '02:00' could be hours and minutes, or minutes and seconds; write 'HH:MM:SS'"),
        ({"mem": 16}, "mem: 16 is 16 bytes; write a number and its unit, such as '16G'"),
        ({"array": 1}, "array=1 is neither True nor False"),
        ({"array_parallelism": 2}, "array_parallelism= is for array tasks; write array=True, or leave it out"),
        ({"array": True, "array_parallelism": 0}, "array_parallelism=0 is not a whole number of at least 1"),
        ({"array": True, "array_parallelism": True}, "array_parallelism=True is not a whole number"),
        ({"after": "a"}, "after='a' is one text; write after=['a']"),
        ({"after": [3]}, "after=[3] is not a list of texts"),
        ({"after": 3}, "after=3 is not a list of texts"),
        ({"after": test_nothing_given}, "after= takes the names of tasks; write after=['test_nothing_given']"),
        ({"after": [test_nothing_given]}, "after= takes the names of tasks; write after=['test_nothing_given']"),
        ({"cache": "yes"}, "cache='yes'; write True, False or 'portable'"),
        ({"cache": 1}, "cache=1; write True, False or 'portable'"),
        ({"version": 1.5}, "version=1.5 is neither text nor a whole number"),
        ({"version": True}, "version=True is neither text nor a whole number"),
        ({"verify": "no"}, "verify='no' is neither True nor False"),
        ({"retries": -1}, "retries=-1 is not a whole number of at least 0"),
        ({"retries": True}, "retries=True is not a whole number"),
        (
            {"retries": Retry(max=-1, max_mem="x")},
            "retries: max=-1 is not a whole number of at least 0; max_mem: 'x' is not",
        ),
        ({"submit_options": ["a"]}, "submit_options=['a'] is not a mapping"),
        ({"submit_options": {3: "a"}}, "submit_options: 3 is no option's name"),
        ({"submit_options": {"--": "a"}}, "submit_options: '--' is no option's name"),
        ({"submit_options": {"retries": 3}}, "'retries' is a keyword of job() itself; write retries=3 there"),
        ({"native": "--x"}, "native='--x' is one text; write native=['--x']"),
        ({"modules": [1]}, "modules=[1] is not a list of texts"),
        ({"env": ["A=1"]}, "env=['A=1'] is not a mapping"),
        ({"env": {"A=B": "1"}}, "env: 'A=B' is no variable's name"),
        ({"env": {"": "1"}}, "env: '' is no variable's name"),
        ({"env": {3: "1"}}, "env: 3 is no variable's name"),
        ({"env": {"A": None}}, "env['A']=None is not text"),
        ({"env": {"A": True}}, "env['A']=True is not text"),
        ({"env": {"A": "a\0b"}}, "env['A']='a\\x00b' is not text"),
        ({"setup": ["a"]}, "setup=['a'] is not text; join lines"),
        ({"fingerprint": "md5"}, "fingerprint='md5'; write 'stat', 'content' or 'name'"),
        ({"partition": "a", "queue": "b"}, "queue='b' and partition='a' are the same option; give it once"),
        ({"mem": "1G", "submit_options": {"mem": "2G"}}, "mem='2G' and mem='1G' are the same option"),
        ({"gres": {"a": 1}}, "option gres={'a': 1} is not text, a number, True, False, None, or a list of these"),
        ({"gres": [None]}, "option gres=[None] is not text"),
        ({"retry": 3}, "unknown keyword 'retry'; did you mean 'retries'?"),
        ({"memory": "4G"}, "unknown keyword 'memory'; did you mean 'mem'?"),
        ({"array_paralelism": 3}, "unknown keyword 'array_paralelism'; did you mean 'array_parallelism'?"),
        ({"memm": "4G"}, "unknown keyword 'memm'; did you mean 'mem'?"),
        ({"acount": "a"}, "unknown keyword 'acount'; did you mean 'account'?"),
        ({"partiton": "a"}, "unknown keyword 'partiton'; did you mean 'partition'?"),
        ({"walltme": "1h"}, "unknown keyword 'walltme'; did you mean 'time'?"),
        ({"finger_print": "stat"}, "unknown keyword 'finger_print'; did you mean 'fingerprint'?"),
    ],
)
def test_mistakes(given: dict[str, Any], says: str) -> None:
    told: list[str] = []
    job_config(given, told.append)
    (problem,) = told
    assert says in problem


def test_all_mistakes_of_a_task_are_told() -> None:
    wf = Flow("x")

    @wf.job(cpus=0, mem="16", native="x", cache=2)
    def task() -> None: ...

    with pytest.raises(WorkflowError) as caught:
        wf.compile()
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    "name", ["ntasks", "cpus-per-task", "mem-per-cpu", "gres", "licenses", "l", "wckey", "no-requeue", "environment"]
)
def test_the_schedulers_own_options_pass(name: str) -> None:
    assert read(submit_options={name: "1"}).options == {name.replace("-", "_"): "1"}
