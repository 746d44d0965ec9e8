//! Maintenance that is a step of a calendar job: each is a process of its own (`supervisor step TASK N`), so that its time limit and
//! its end are those of any other step.
