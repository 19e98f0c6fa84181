from reflow_flux.dialect import FluxExecutor as FluxExecutor
from reflow_lsf.dialect import LSFExecutor as LSFExecutor
from reflow_pbs.dialect import PBSExecutor as PBSExecutor
from reflow_sge.dialect import SGEExecutor as SGEExecutor
from reflow_slurm.dialect import SlurmExecutor as SlurmExecutor

from . import errors as errors
from .authoring.flow import Flow as Flow
from .authoring.markers import Param as Param
from .authoring.markers import Result as Result
from .authoring.markers import RunDir as RunDir
from .config import Config as Config
from .config import config_path as config_path
from .config import ensure_config_exists as ensure_config_exists
from .config import load_config as load_config
from .config import write_example_config as write_example_config
from .local.pool import LocalExecutor as LocalExecutor
from .model.failed import Failed as Failed
from .model.job import Executor as Executor
from .model.names import RunState as RunState
from .model.names import TaskState as TaskState
from .model.retry import Retry as Retry
from .model.retry import Scale as Scale
from .model.schema import Shared as Shared
from .model.task import JobConfig as JobConfig
from .model.task import TaskSpec as TaskSpec
from .run.service.api import Run as Run
from .worker.context import Requeue as Requeue
from .worker.context import TaskInterrupted as TaskInterrupted
from .worker.context import checkpoint_dir as checkpoint_dir
from .worker.context import context as context
from .worker.context import time_left as time_left
from .workflow import Workflow as Workflow

__version__: str
