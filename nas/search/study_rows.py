"""The rows of an Optuna database: many trials are added in one transaction, and identified by one query.

`Study.add_trial` takes 30 ms a trial, and more the more there are: it asks for the trial before each of its attributes
and counts the trials before it. `Study.get_trials` builds every trial with all its parts. A rebuilt study of 10,000
trials needs neither. The tables are Optuna's own (its models, not part of its public interface); tests/search/
test_study.py holds the rows to those that `add_trial` writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


def add_trials(storage: RDBStorage, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Add ended trials under their own numbers: all of them, or none if the database fails.

    Optuna counts trials as they come; here the number is the trial's in the run. While a trial of a lower number is
    running, the study has a gap, which no reader of it minds: trials are found by number or by id.

    Errors of the database propagate, as sqlalchemy raises them; KeyError if the study is gone.

    >>> trial = optuna.create_trial(value=0.9)
    >>> trial.number = 7
    >>> add_trials(storage, study._study_id, [trial])
    """
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from sqlalchemy import insert

    with storage.scoped_session() as session, session.begin():
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        made = [
            models.TrialModel(
                study_id=study_id,
                number=trial.number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for trial in trials
        ]
        session.add_all(made)
        session.flush()  # gives them ids
        rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for trial_id, trial in zip([row.trial_id for row in made], trials, strict=True):
            for objective, value in enumerate(trial.values or ()):
                stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                row = {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
                rows[models.TrialValueModel].append(row)
            for name, value in trial.params.items():
                distribution = trial.distributions[name]
                row = {"trial_id": trial_id, "param_name": name, "param_value": distribution.to_internal_repr(value)}
                rows[models.TrialParamModel].append(row | {"distribution_json": distribution_to_json(distribution)})
            attributes = (
                (models.TrialUserAttributeModel, trial.user_attrs),
                (models.TrialSystemAttributeModel, trial.system_attrs),
            )
            for model, values in attributes:
                rows[model] += [
                    {"trial_id": trial_id, "key": k, "value_json": json.dumps(v)} for k, v in values.items()
                ]
        for model, content in rows.items():
            session.execute(insert(model), content)


def attributes_of(storage: RDBStorage, study_id: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """Optuna's number of each trial of a study, and those of the named user attributes that the trial has."""
    from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
    from sqlalchemy import and_

    attribute = TrialUserAttributeModel
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    with storage.scoped_session() as session:
        rows = (
            session.query(TrialModel.number, attribute.key, attribute.value_json)
            .outerjoin(attribute, and_(attribute.trial_id == TrialModel.trial_id, attribute.key.in_(list(names))))
            .filter(TrialModel.study_id == study_id)
            .yield_per(1000)  # rows in memory
        )
        for number, key, value in rows:
            found[number] |= {key: json.loads(value)} if key is not None else {}
    return [{"number": number} | attributes for number, attributes in found.items()]
