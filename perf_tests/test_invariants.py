"""Promise: a case is sound in itself, whatever it is compared with."""


def test_same_seed_same_image(case, run, promise):
    """Three calls of the same prompts and seeds draw the same images."""
    promise(run.invariants.verdict(case, "repeat"))


def test_same_image_in_a_new_process(case, run, promise):
    """Another process, with another hash seed, draws the same image."""
    promise(run.invariants.new_process(case))


def test_a_batch_is_its_images(case, run, promise):
    """A batch draws what its images are singly, and none depends on what stands beside it."""
    promise(run.invariants.verdict(case, "batch"))


def test_what_ran_before_does_not_matter(case, run, promise):
    """Nor do the random states of torch, numpy and Python."""
    promise(run.invariants.verdict(case, "history"))


def test_another_seed_is_another_image(case, run, promise):
    """Nor is another prompt's image the same."""
    promise(run.invariants.verdict(case, "seed"))


def test_the_generator_is_honoured(case, run, promise):
    """The pipeline's own noise follows its generator alone, in every step that draws some."""
    promise(run.invariants.verdict(case, "generator"))


def test_placement_changes_nothing(case, run, promise):
    """Sliced attention, sliced decoding and offloading draw the same image."""
    promise(run.invariants.placement(case))


def test_the_schedule_is_as_stated(case, run, promise):
    """Calls of the UNet, timesteps, steps and scalings are those of the model's files."""
    promise(run.invariants.schedule(case))


def test_the_dtype_is_as_stated(case, run, promise):
    """Of every weight, and of what flows between the modules."""
    promise(run.invariants.verdict(case, "dtype"))


def test_switches_stay_as_stated(case, run, promise):
    """Generating changes no switch, hook, processor or weight."""
    promise(run.invariants.switches(case))


def test_no_more_synchronisations(case, run, promise):
    """No step waits for the device more often than the reference's."""
    promise(run.invariants.synchronisations(case))


def test_no_more_operators(case, run, promise):
    """No step runs more operators than are stored, or than the reference's."""
    promise(run.invariants.operators(case))


def test_nothing_grows(case, run, promise):
    """Tensors, hooks and operators are as many after many calls as after the first."""
    promise(run.invariants.verdict(case, "growth"))


def test_nothing_is_left_behind(case, run, promise):
    """Global state after the case is what it was before; judged when all have been closed."""
    promise(run.invariants.leaks(case))
