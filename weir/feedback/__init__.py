"""What feedback says, as numbers: pure, without Faust, brokers and HTTP."""
