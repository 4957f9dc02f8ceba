"""The leaderboard: rows chosen, ordered, ticked and drawn."""
