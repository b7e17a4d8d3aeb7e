"""Words of a shop for electronics: what means the same, and what is an accessory of something else.

Most hold elsewhere too, but not all: a lamp, a shelf and a bag are no accessories in a shop that sells these.

A shop adds its own in a file: one group of synonyms a line, commas between (`hoover, vacuum cleaner`), or one way only
(`ps4 => playstation 4`); `accessory:` in front of a line names accessories. `#` begins a remark.
"""

GENERAL_WORDS = """
laptop, notebook, notebook pc
pc, desktop pc, desktop computer, computer
desktop => desktop pc, desktop computer
tv, television
flat screen tv => lcd tv, led tv, plasma tv, flat tv
phone => mobile phone, smartphone
mobile phone, cell phone, smartphone
headphones, earphones, headset, earbuds
ps3, playstation 3
ps4, playstation 4
ps5, playstation 5
power bank, portable charger
memory stick, usb stick, usb flash drive, flash drive, pen drive, thumb drive
hdd, hard drive, hard disk drive, hard disk
ssd, solid state drive
sd card => memory card
cd drive, dvd drive => optical disc drive
monitor => display
flashlight, torch
fridge, refrigerator
backpack, rucksack
wifi, wlan
cordless, wireless
smartwatch, smart watch
vacuum cleaner, hoover
graphics card, video card, gpu
processor, cpu
power supply, psu, power supply unit
ram, memory module
webcam, web camera
camcorder, video camera
mouse pad, mouse mat, mousepad
tablet, tablet pc
usb c, usb type c, type c
ethernet cable, network cable, networking cable, lan cable, patch cable
ink => ink cartridge
toner => toner cartridge
coffee machine, coffee maker
ups, uninterruptible power supply
nas, network attached storage
motherboard, mainboard
sat nav, gps navigator
dvd burner, dvd writer
docking station, dock, port replicator
loudspeaker, speaker
touchscreen, touch screen
display => monitor
external hard drive => portable hard drive
mobile => mobile phone
walkie talkie, two way radio
hair dryer, hairdryer
shaver, razor
tap, faucet
trainers, sneakers
jumper, sweater, pullover
trousers, pants
sofa, couch
bin, trash can
mobile charger, phone charger
colour, color
grey, gray
aluminium, aluminum
accessory: adapter, arm, bag, battery, bracket, briefcase, cable, cartridge, cart, case, charger, clip, cleaner
accessory: connector, cooler, cover, cradle, dock, docking, drawer, drum, enclosure, extension, filter, folio, fuser
accessory: grip, hanger, holder, holster, kit, lamp, lock, mount, mounting, pad, part, pouch, protector, rack
accessory: refill, remote, replacement, rest, roller, service, shelf, shell, skin, sleeve, socket, spare, stand
accessory: station, strap, stylus, support, tape, toner, tray, warranty, backpack, floorstand, lens, headset, label
"""
