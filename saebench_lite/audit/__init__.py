"""The suite's own metrics on trial: noise, agreement with the truth, growth with training, power, consistency."""
