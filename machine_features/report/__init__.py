"""The report: one HTML page that asks nothing of the network.

``collect`` reads what it shows, ``charts`` draws in Altair, ``page`` puts both into HTML. ``page.js`` fills the charts
with the data of the machine that a person picks.
"""
