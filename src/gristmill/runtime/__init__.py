"""Running programs: sessions, and the states that outlive a prediction."""
