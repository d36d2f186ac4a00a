"""Against another environment: the same harness, run by another interpreter beside this one."""
