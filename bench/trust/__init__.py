"""Campaigns: cases by the thousand, each made by a seed, for as long as one likes; what nobody can explain is kept."""
