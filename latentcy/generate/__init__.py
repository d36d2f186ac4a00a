"""Where `variants` was until 2026; users' variants files import it from here."""
