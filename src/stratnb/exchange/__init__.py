"""Where orders go and candles come from: paper and replay."""
